"""`manage.py routes`: what gateway.yaml exposes, as a table."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gateway import configuration
from gateway.config import ConfigError, Route

HEADINGS = ("PATH", "METHODS", "SERVICE", "ALLOW", "LIMIT", "TIMEOUT", "BODY")


def row(route: Route) -> tuple[str, ...]:
    allow = route.allow if isinstance(route.allow, str) else ",".join(sorted(route.allow))
    limit = ",".join(route.rate_limit) if isinstance(route.rate_limit, tuple) else str(route.rate_limit or "")
    return (
        route.path,
        ",".join(route.methods),
        route.service,
        allow,
        limit or "-",
        f"{route.timeouts.total:g}s",
        f"{route.max_body:,}",
    )


class Command(BaseCommand):
    help = "Print what gateway.yaml exposes: path, methods, service, who is allowed, limits."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        try:
            rows = [HEADINGS, *(row(route) for route in configuration.load_config().routes)]
        except ConfigError as exc:
            raise CommandError(str(exc)) from exc
        widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEADINGS))]
        for cells in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
