"""`manage.py compact_users`: moves superseded lines of users.jsonl to users.history.jsonl."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from chassis.problems import Unavailable
from users import store
from users.store.journal import Journal


class Command(BaseCommand):
    """Happens by itself too, as soon as superseded lines are most of the file."""

    help = "Moves superseded lines of users.jsonl to users.history.jsonl, without hashes. The service may go on."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Compact, or say why not."""
        journal = store.current()
        if not isinstance(journal, Journal):
            raise CommandError("The users are in PostgreSQL: there is no file to compact.")
        try:
            moved = journal.compact()
        except (OSError, DatabaseError, Unavailable) as exc:
            raise CommandError(f"{journal.path}: cannot be compacted: {exc}") from exc
        self.stdout.write(f"{journal.path}: {moved} superseded lines moved to {journal.history_path.name}.")
