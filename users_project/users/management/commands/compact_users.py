"""`manage.py compact_users`: the file anew, with each user's last line alone."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from rest_framework.exceptions import APIException

from users import journal


class Command(BaseCommand):
    """Writes users.jsonl anew without the lines that later ones superseded, while the service goes on."""

    help = "Writes users.jsonl anew, with each user's last line alone. The service may go on meanwhile."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Compact, or say why not."""
        record = journal.current()
        if record is None:
            raise CommandError("The users are in PostgreSQL: there is no file to compact.")
        try:
            with record.lock.held():
                before = record.bring_up()
                after = record.compact()
        except (OSError, OperationalError, APIException) as exc:
            raise CommandError(f"{record.path}: cannot be compacted: {exc}. It is as it was.") from exc
        self.stdout.write(
            f"{record.path}: from {before.lines} lines and {before.offset} bytes to {after.lines} and {after.offset}."
        )
