"""`manage.py compact_users`: moves superseded lines of users.jsonl to users.history.jsonl."""

from typing import Any

from django.core.management.base import BaseCommand

from users import store
from users.store import compaction


class Command(BaseCommand):
    """Happens by itself too, as soon as superseded lines are most of the file."""

    help = "Moves superseded lines of users.jsonl to users.history.jsonl, without hashes. The service may go on."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        journal = store.file_store()
        moved = journal.compact()
        history = compaction.history_of(journal.path).name
        self.stdout.write(f"{journal.path}: {moved} superseded lines moved to {history}.")
