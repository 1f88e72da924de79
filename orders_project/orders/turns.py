"""Writers of SQLite queue here, threads and processes alike. PostgreSQL needs no queue.

SQLite's own queue costs half of the rate and more of the p99 (docs/benchmarks.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

from chassis.databases import DatabaseUnavailable
from chassis.locks import FileLock

# Seconds.
MAX_WAIT = 5.0


@contextmanager
def write_turn() -> Iterator[None]:
    """Keep others from writing; begin it before the transaction. Raises `DatabaseUnavailable` after `MAX_WAIT`."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with FileLock(settings.STATE / "orders.lock", MAX_WAIT, DatabaseUnavailable).held():
        yield
