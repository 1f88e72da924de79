"""`manage.py verify_users`: reads all of users.jsonl and makes the index again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from chassis.problems import Unavailable
from users import store
from users.store.journal import Journal


class Command(BaseCommand):
    """Ends with 1 and the line that cannot be read; the index stays as it is then."""

    help = "Reads all of users.jsonl and makes the index again; ends with 1 if a line cannot be read."
    # They would open the record, and report what this command is to report.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Verify, and say what there is."""
        journal = store.current()
        if not isinstance(journal, Journal):
            raise CommandError("The users are in PostgreSQL: there is no file to verify.")
        try:
            position = journal.verify()
        except (OSError, DatabaseError, Unavailable) as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{journal.path}: {position.lines} lines, {position.ids} users with those deleted. Correct.")
