"""Django's system check of gateway.yaml: `manage.py check` reports every fault, not only the first."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from . import configuration
from .config import ConfigError


@register()
def gateway_yaml(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ANN401  # Django's signature
    """Return an error for each fault of gateway.yaml, with its file, line and column."""
    try:
        configuration.current()
    except ConfigError as exc:
        return [Error(str(fault), id="gateway.E001") for fault in exc.faults]
    return []
