"""Locks between this service's processes, and their threads: bytes of one file. They end with who has them.

SQLite's own locks stay those that count; these are for whoever would wait for it too long, or for something else.
"""

import errno
import fcntl
import logging
import os
import struct

from django.conf import settings

from chassis.databases import DatabaseUnavailable, StorageFull

# The bytes below are for keys, by their hash; these two are for turns. There need be no such bytes (fcntl(2)).
KEYS = 2**62
TURN, NEXT = KEYS, KEYS + 1

log = logging.getLogger("locks")


def open_locks() -> int:
    """Return a descriptor of the file of locks; raise `StorageFull` or `DatabaseUnavailable` if it cannot be opened."""
    try:
        return os.open(f"{settings.STATE}/orders.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        log.warning("The file of locks cannot be opened: %s", exc)
        raise (StorageFull if exc.errno in {errno.ENOSPC, errno.EDQUOT} else DatabaseUnavailable) from exc


def byte_lock(descriptor: int, number: int) -> bool:
    """Lock the one byte at that place of the file, if nobody has it.

    A lock of an open file description, not of the process: it is between threads too, and ends as that is closed.
    """
    try:
        change(descriptor, number, fcntl.F_WRLCK)
    except BlockingIOError:
        return False
    return True


def byte_unlock(descriptor: int, number: int) -> None:
    """Let others lock the byte."""
    change(descriptor, number, fcntl.F_UNLCK)


def change(descriptor: int, number: int, kind: int) -> None:
    """Lock or unlock the byte; raise `BlockingIOError` where another has it."""
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, number, 1, 0))
