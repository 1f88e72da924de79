"""The store in PostgreSQL: its tables are the truth.

One writer at a time here too: the one that has locked the row of `Position`. So a rule that was checked holds until the
commit, and the numbers by which the gateway follows ends of sessions are committed in their order.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django.db import connection, transaction

from chassis.databases import check_migrations
from users.models import Entry, Position, UserVersion

from . import tables, writer
from .codec import decode, encode
from .writer import Writer


class Database:
    """The tables of the settings' database."""

    def open(self) -> None:
        """Raise `ImproperlyConfigured` if the tables are not those of this program's migrations."""
        check_migrations()

    def catch_up(self) -> None:
        """Do nothing: queries read what is stored."""

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the only writer. A database that is full, locked or away raises Django's errors; nothing is stored."""
        if connection.in_atomic_block:
            raise RuntimeError("Users cannot be written inside of a transaction: a response means that it is stored.")
        with transaction.atomic():
            _take_turn()
            # Nothing to reserve: deletions stay in their table, so that an id is never free again.
            own = Writer(lambda _: None)
            yield own
            lines = ((entry.id, encode(entry, with_password=False).decode()) for entry in own.entries)
            versions = [UserVersion(user_id=user_id, line=line) for user_id, line in lines]
            UserVersion.objects.bulk_create(versions, batch_size=500)

    def versions(self, user_id: int) -> Iterator[Entry]:
        for version in UserVersion.objects.filter(user_id=user_id).order_by("pk"):
            yield decode(version.line.encode(), has_password=False)


def _take_turn() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(writer.TIMEOUT * 1000)}ms"])
    turn = Position.objects.select_for_update().filter(pk=tables.POSITION)
    if turn.first() is None:
        Position.objects.bulk_create([Position(pk=tables.POSITION, generation=uuid4().hex)], ignore_conflicts=True)
        turn.get()
