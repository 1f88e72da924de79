"""The chassis as a Django app, and two of Django's own apps without their tables."""

import logging.config

from django.apps import AppConfig
from django.conf import settings
from django.core import checks


class ChassisConfig(AppConfig):
    name = "chassis"
    default = True

    def ready(self) -> None:
        from . import (
            conf,
            logs,
            openapi,  # noqa: F401  # registers how the OpenAPI document describes passports
        )
        from .checks import check_gatehouse, check_settings

        checks.register(check_gatehouse)
        checks.register(check_settings)
        if not settings.LOGGING and not conf.find_faults(getattr(settings, "GATEHOUSE", None)):
            logging.config.dictConfig(logs.configuration(conf.options().log_level))


class PagesConfig(AppConfig):
    """The templates and the stylesheet alone, for a project that is not behind the gateway."""

    name = "chassis"


class AuthModels(AppConfig):
    """`django.contrib.auth`, whose models Simple JWT imports, for a project that has no tables of users.

    Under another configuration than Django's own it does not write permissions after each migration.
    Set `MIGRATION_MODULES = {"auth": None, "contenttypes": None}` beside it.
    """

    name = "django.contrib.auth"
    default_auto_field = "django.db.models.AutoField"


class ContentTypeModels(AppConfig):
    """`django.contrib.contenttypes`, which `AuthModels` needs."""

    name = "django.contrib.contenttypes"
    default_auto_field = "django.db.models.AutoField"
