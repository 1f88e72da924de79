"""The journal as tests look at it: what queries find, and as another process opens it."""

import json
from pathlib import Path

from django.db import connection

from users import store
from users.models import Position, User
from users.store import compaction
from users.store.journal import Journal


def names() -> dict[int, str]:
    """Return what queries find."""
    store.current().catch_up()
    return dict(User.objects.values_list("pk", "username"))


def reopened() -> Journal:
    """Return the journal as another process has it."""
    connection.close()
    store._journal_at.cache_clear()
    found = store.current()
    found.open()
    return found


def compact() -> None:
    """Move superseded lines to the history, as a write does now and then."""
    journal = store.current()
    with journal.lock.held():
        compaction.compact(journal.path, journal._bring_up())


def append(record: Path, *lines: dict[str, object], end: str = "\n") -> None:
    with record.open("a") as file:
        file.write("\n".join(json.dumps(line) for line in lines) + end)


def generation() -> str:
    store.current().catch_up()
    return Position.objects.get().generation
