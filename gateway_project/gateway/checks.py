"""Django's system check of gateway.yaml: every fault, not only the first, and what is odd about it."""

import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004  # Django's name for it

from . import configuration
from .config import ConfigError, warnings


@register()
def gateway_yaml(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:  # noqa: ANN401  # Django's signature
    """Return an error with each fault of gateway.yaml, or a warning with each oddity: file, line and column.

    One for all of them: of several Django would sort the texts, line 10 before line 9.
    """
    try:
        configuration.load_config()
        odd = warnings(settings.GATEWAY_CONFIG, os.environ)
    except ConfigError as exc:
        return [Error(indented("gateway.yaml cannot be used:", str(exc)), id="gateway.E001")]
    if not odd:
        return []
    return [Warning(indented("gateway.yaml has probable mistakes:", "\n".join(map(str, odd))), id="gateway.W001")]


def indented(title: str, lines: str) -> str:
    return "\n\t".join([title, *lines.splitlines()])
