"""The Django application."""

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.db import DatabaseError
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_save

from chassis.problems import Unavailable


class UsersConfig(AppConfig):
    name = "users"

    def ready(self) -> None:
        from . import models, services  # the models can be imported from now on
        from .store import index

        models.UserManager.create_through = staticmethod(services.user_create)
        connection_created.connect(index.remember_file)
        pre_save.connect(_refuse_bypass)
        checks.register(_check_record)


def _refuse_bypass(sender: type, raw: bool, **kwargs: Any) -> None:  # noqa: ANN401  # a signal's
    """Reject what saves models by itself, as `loaddata` does. The store's own writes send no signal."""
    from . import models

    if sender in {models.User, models.Deletion, models.UserVersion}:
        raise models.BypassError(f"{sender.__name__} is written by users.services alone.")


def _check_record(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ANN401  # Django's signature
    """Open the file store, so that every command finds its index, and `check` names a line that cannot be read."""
    from . import store

    if not settings.RECORD:  # `migrate` makes the tables of PostgreSQL, and comes by here too
        return []
    try:
        store.current().open()
    except (Unavailable, DatabaseError, OSError) as exc:
        return [checks.Error(str(exc), id="users.E001")]
    return []
