"""Writers of SQLite queue here, threads and processes alike. PostgreSQL needs no queue.

In SQLite's own queue a writer sleeps for up to 0.1 s while others overtake it, which costs half of the rate and more of
the p99 (docs/benchmarks.md). This one is a lock on a file, tried every millisecond. It ends with the process.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from django.conf import settings
from django.db import connection

from chassis.databases import DatabaseUnavailable

# Seconds.
MAX_WAIT = 5.0
PAUSE = 0.001


@contextmanager
def write_turn() -> Iterator[None]:
    """Keep others from writing; begin it before the transaction. Raises `DatabaseUnavailable` after `MAX_WAIT`."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with (settings.STATE / "orders.lock").open("a") as file:
        _lock(file)
        yield


def _lock(file: IO[str]) -> None:
    deadline = time.monotonic() + MAX_WAIT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable from None
            time.sleep(PAUSE)
        else:
            return
