"""`manage.py status`: the services' addresses, as each worker of the running gateway sees them."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway.status import statuses

HEADINGS = ("WORKER", "SERVICE", "ADDRESS", "STATE", "IN FLIGHT", "CONNECTIONS", "FAILURES", "NOTE")


def rows(status: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for service, addresses in status["services"].items():
        for each in addresses:
            note = f"check: {each['check']}" if each["check"] else ""
            if each["state"] == "ejected" and each["rests"]:
                note = f"rests {each['rests']:.0f} s" + (f"; {note}" if note else "")
            numbers = (str(each[key]) for key in ("in_flight", "connections", "failures"))
            yield (str(status["pid"]), service, each["address"], each["state"], *numbers, note)


class Command(BaseCommand):
    help = "Print the state of the services' addresses, as each worker of the running gateway sees it."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        table = [HEADINGS, *(row for status in statuses(settings.STATE) for row in rows(status))]
        if len(table) == 1:
            raise CommandError("No worker responds. Start the gateway: ./manage_all.sh up gateway")
        widths = [max(len(cells[column]) for cells in table) for column in range(len(HEADINGS))]
        for cells in table:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
