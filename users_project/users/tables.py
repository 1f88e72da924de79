"""Where users are written on PostgreSQL: its tables are the truth, and there is no record beside them.

As with the record there is one writer at a time, here the one that has locked the row of `Position`. So a rule that was
checked holds until the commit, and what follows the ends of sessions by their numbers misses none: a number is given
after every lower one was committed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django.db import OperationalError, connection, transaction

from chassis.databases import StorageFull, check_migrations
from chassis.problems import Unavailable

from . import index, lock
from .changes import Changes
from .models import Position
from .record import Extent

# PostgreSQL's codes of errors, Appendix A of its manual.
DISK_FULL = "53100"
LOCK_NOT_AVAILABLE = "55P03"


def open_tables() -> None:
    """Raise `ImproperlyConfigured` if tables of this program's migrations are missing."""
    check_migrations()


@contextmanager
def writing() -> Iterator[Changes]:
    """Be the one writer. Raises `StorageFull`, `Unavailable`; nothing is stored then."""
    if connection.in_atomic_block:
        raise RuntimeError("Users cannot be written inside of a transaction: what was answered has to be on disk.")
    try:
        with transaction.atomic():
            take_turn()
            yield Changes(Extent(), 0)
    except OperationalError as exc:
        raise storage_problem(exc) from exc


def take_turn() -> None:
    """Wait until no other writer is at work."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(lock.TIMEOUT * 1000)}ms"])
    turn = Position.objects.select_for_update().filter(pk=index.POSITION)
    if turn.first() is None:
        Position.objects.bulk_create([Position(pk=index.POSITION, generation=uuid4().hex)], ignore_conflicts=True)
        turn.get()


def storage_problem(error: OperationalError) -> StorageFull | Unavailable:
    """Return the problem for what PostgreSQL complains of."""
    code = getattr(error.__cause__, "sqlstate", None)
    if code == DISK_FULL:
        return StorageFull()
    if code == LOCK_NOT_AVAILABLE:
        return Unavailable("Other writes take too long. Try again.")
    return Unavailable("The users cannot be written at the moment. Try again.")
