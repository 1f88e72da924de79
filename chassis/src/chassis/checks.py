"""Django's system checks of the settings that a service needs: `manage.py check`."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name for a check's severity

from . import MIDDLEWARE, REST_FRAMEWORK, conf

ESSENTIAL = ("DEFAULT_AUTHENTICATION_CLASSES", "EXCEPTION_HANDLER")


def check_gatehouse(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ANN401  # Django's signature
    faults = conf.find_faults(getattr(settings, "GATEHOUSE", None))
    return [Error(fault.message, hint=fault.hint, id=f"chassis.E{fault.number:03}") for fault in faults]


def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ANN401  # Django's signature
    found: list[CheckMessage] = []
    missing = [name for name in MIDDLEWARE if name not in settings.MIDDLEWARE]
    if missing:
        hint = "Set MIDDLEWARE = [*chassis.MIDDLEWARE, ...]."
        found.append(Warning(f"MIDDLEWARE lacks {', '.join(missing)}.", hint=hint, id="chassis.W001"))
    configured = getattr(settings, "REST_FRAMEWORK", {})
    for name in ESSENTIAL:
        if name not in configured:
            hint = f"Set it to {REST_FRAMEWORK[name]!r}, or set REST_FRAMEWORK = chassis.REST_FRAMEWORK."
            found.append(Warning(f"REST_FRAMEWORK lacks {name}.", hint=hint, id="chassis.W002"))
    if "rest_framework" not in settings.INSTALLED_APPS:
        hint = 'Add "rest_framework" to INSTALLED_APPS.'
        found.append(Error("Django REST framework is not installed.", hint=hint, id="chassis.E020"))
    return found
