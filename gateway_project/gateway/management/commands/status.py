"""`manage.py status`: the services' addresses, as each worker of the running gateway sees them, and who still calls
deprecated routes.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway.status import statuses

HEADINGS = (
    "WORKER", "SERVICE", "ADDRESS", "STATE", "IN FLIGHT", "CONNECTIONS", "FAILURES", "QUEUED", "RETRIES LEFT", "NOTE",
)  # fmt: skip
DEPRECATED = ("DEPRECATED ROUTE", "CALLER", "REQUESTS", "LAST")


def rows(status: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for service, addresses in status["services"].items():
        shared = [str(status["queues"][service][key]) for key in ("queued", "retries_left")]
        for each in addresses:
            note = f"check: {each['check']}" if each["check"] else ""
            if each["state"] == "ejected" and each["rests"]:
                note = f"rests {each['rests']:.1f} s" + (f"; {note}" if note else "")
            elif each["state"] == "ejected":
                note = note or "tried with the next request"
            numbers = (str(each[key]) for key in ("in_flight", "connections", "failures"))
            yield (str(status["pid"]), service, each["address"], each["state"], *numbers, *shared, note)


def caller_rows(deprecated: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each caller of a deprecated route, the one with the most requests first."""
    for each in deprecated:
        route = f"{each['method']} {each['route']}"
        for caller in each["callers"]:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(caller["last"]))
            yield (route, caller["caller"], str(caller["requests"]), stamp)
        if each["others"]:
            yield (route, "others", str(each["others"]), "")
        if not each["requests"]:
            yield (route, "none since the start", "0", "")


def rejection(rejected: dict[str, Any], digests: Sequence[str]) -> str:
    """Return the line about a changed file that is not in force."""
    faults = f"{rejected['faults']} fault{'' if rejected['faults'] == 1 else 's'}"
    return (
        f"gateway.yaml was changed and rejected at {rejected['at']}: {faults}; "
        f"sha256 {', '.join(digests)} stays in force. "
        "See the faults with: ./manage_all.sh gateway check"
    )


class Command(BaseCommand):
    # A faulty gateway.yaml is one of the things to print.
    requires_system_checks = ()
    help = "Print the state of the services' addresses by worker, and who still calls deprecated routes."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        found = list(statuses(settings.STATE))
        table = [HEADINGS, *(row for status in found for row in rows(status))]
        if len(table) == 1:
            raise CommandError("No worker responds. Start the gateway: ./manage_all.sh up gateway")
        self.write_table(table)
        # The counts are those of all workers. The worker that started last has the file in force.
        newest = max(found, key=lambda status: status["started"])
        callers = list(caller_rows(newest["deprecated"]))
        if callers:
            self.stdout.write()
            self.write_table([DEPRECATED, *callers])
        if rejected := newest["rejected"]:
            self.stdout.write()
            digests = sorted({status["config"]["sha256"] for status in found})
            self.stdout.write(self.style.WARNING(rejection(rejected, digests)))

    def write_table(self, table: Sequence[tuple[str, ...]]) -> None:
        widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
        for cells in table:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
