"""Where users are stored: one protocol, two stores.

journal     users.jsonl is the truth; an SQLite index beside it answers queries
database    PostgreSQL's tables are the truth

with store.writing() as writer:     # the only writer, over all threads and processes
    ...                             # check the rules against what is stored now
    writer.put(user, by=…)          # or writer.remove(user, by=…)
                                    # durable when the block ends; nothing is stored if it raises
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Protocol

from django.conf import settings
from django.db import DatabaseError

from chassis.problems import Unavailable
from users.models import Entry

from .database import Database
from .journal import Journal
from .writer import Writer

log = logging.getLogger(__name__)


class Store(Protocol):
    """What the rest of the application needs of a store."""

    def open(self) -> None:
        """Make the store ready to serve; raise `StoreError` if that is impossible."""

    def catch_up(self) -> None:
        """Make queries see everything that is stored; cheap if nothing changed."""

    def writing(self) -> AbstractContextManager[Writer]:
        """Be the only writer."""

    def versions(self, user_id: int) -> Iterator[Entry]:
        """Yield every stored version of a user, oldest first, without password hashes."""


_journal_at = cache(Journal)


def current() -> Store:
    """Return the store of the settings; a process has one journal for each path."""
    return _journal_at(settings.RECORD) if settings.RECORD else Database()


def open_or_log() -> None:
    """Open the store for a process that serves.

    A worker starts even if its store cannot be read, and serves what it can: otherwise gunicorn would end the service.
    """
    try:
        current().open()
    except (Unavailable, DatabaseError) as exc:
        log.error("A worker starts though its store cannot be read: %s", exc)  # noqa: TRY400  # the store is at fault


def writing() -> AbstractContextManager[Writer]:
    """Be the only writer of the current store. Raises `StorageFull`, `Unavailable`, `StoreError`."""
    return current().writing()
