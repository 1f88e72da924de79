"""Django's system check of gateway.yaml: `manage.py check` reports every fault, not only the first."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from . import configuration
from .config import ConfigError


@register()
def gateway_yaml(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ANN401  # Django's signature
    """Return an error with each fault of gateway.yaml: file, line and column.

    One for all of them: of several Django would sort the texts, line 10 before line 9.
    """
    try:
        configuration.current()
    except ConfigError as exc:
        faults = "".join(f"\n\t{fault}" for fault in exc.faults)
        return [Error(f"Expected a gateway.yaml without faults, got {len(exc.faults)}:{faults}", id="gateway.E001")]
    return []
