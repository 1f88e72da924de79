"""`manage.py check`: Django's, and what gateway.yaml has."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import check

from gateway import configuration
from gateway.config import ConfigError


class Command(check.Command):
    """Ends with the faults of gateway.yaml and how many they are, or says how many routes it has."""

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Check."""
        try:
            config = configuration.current()
        except ConfigError as exc:
            # Not by Django's check, which would add a count of its own.
            raise CommandError(str(exc)) from exc
        super().handle(*args, **options)
        count = len(config.routes)
        self.stdout.write(f"gateway.yaml has {count} route{'' if count == 1 else 's'}, and no faults.")
