"""`manage.py check`: Django's, and what gateway.yaml has."""

import os
from typing import Any

from django.conf import settings
from django.core.management.base import SystemCheckError
from django.core.management.commands import check

from gateway import configuration
from gateway.config import ConfigError, warnings


class Command(check.Command):
    """Prints the faults of gateway.yaml and their number, or its number of routes."""

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        try:
            config = configuration.load_config()
        except ConfigError as exc:
            # Django's check would add a count of its own, and a plain CommandError its name before the first fault.
            raise SystemCheckError(str(exc)) from exc
        super().handle(*args, **options)
        odd = len(warnings(settings.GATEWAY_CONFIG, os.environ, config))
        found = f"and {counted(odd, 'warning')}, see above" if odd else "and no faults"
        self.stdout.write(f"gateway.yaml has {counted(len(config.routes), 'route')}, {found}.")


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
