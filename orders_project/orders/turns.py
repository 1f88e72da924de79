"""Writers of SQLite take turns, threads and processes alike. PostgreSQL needs none of this.

SQLite lets a writer that waits sleep for up to 0.1 s while others overtake it, which costs half of the rate and more of
the p99 (docs/benchmarks.md). Here a thread first gets its process's turn, then the turn among processes: a lock on one
byte of a file, which ends with the process. A second byte is for the process that is next, so that none overtakes it.
"""

import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.conf import settings
from django.db import connection, transaction

from chassis.databases import DatabaseUnavailable

MAX_WAIT = 5.0  # seconds
_TURN, _NEXT = 0, 1
_threads = threading.Lock()


@contextmanager
def write_transaction() -> Iterator[None]:
    """Begin a transaction that writes, or join the current one. Raises `DatabaseUnavailable` after `MAX_WAIT`."""
    with ExitStack() as stack:
        if connection.vendor == "sqlite" and not connection.in_atomic_block:
            deadline = time.monotonic() + MAX_WAIT
            if not _threads.acquire(timeout=MAX_WAIT):
                raise DatabaseUnavailable
            stack.callback(_threads.release)
            stack.enter_context(_process_turn(deadline))
        stack.enter_context(transaction.atomic())
        yield


@contextmanager
def _process_turn(deadline: float) -> Iterator[None]:
    file = os.open(settings.STATE / "orders.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(file, _NEXT, deadline)
        _wait_for(file, _TURN, deadline)
        _change_lock(file, _NEXT, fcntl.F_UNLCK)
        yield
    finally:
        os.close(file)


def _wait_for(file: int, byte: int, deadline: float) -> None:
    pause = 0.0003
    while True:
        try:
            _change_lock(file, byte, fcntl.F_WRLCK)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable from None
            time.sleep(pause)
            pause *= 1.02  # a long wait need not end at once
        else:
            return


def _change_lock(file: int, byte: int, kind: int) -> None:
    """Change the lock of an open file description: it is between threads too, and ends when that is closed."""
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0))
