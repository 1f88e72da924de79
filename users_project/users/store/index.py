"""The index: an SQLite file beside the record. It is disposable: if in doubt, it is deleted and rebuilt."""

import logging
import os
import sqlite3
import threading
from functools import cache
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from users.models import Position

from . import tables

log = logging.getLogger(__name__)

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_opened = threading.local()


def path() -> Path:
    return Path(connection.settings_dict["NAME"])


def file_identity() -> tuple[int, int] | None:
    """Return which file the index is, or None if there is none."""
    try:
        status = os.stat(connection.settings_dict["NAME"])  # noqa: PTH116  # each request: half the time of Path.stat
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def remember_file(**kwargs: Any) -> None:  # noqa: ANN401  # a signal's
    """Remember which file this thread's connection has just opened."""
    _opened.file = file_identity()


def leave_replaced_file() -> None:
    """Close this thread's connection if the index was deleted or replaced since it was opened."""
    if connection.connection is None or connection.in_atomic_block:
        return
    if getattr(_opened, "file", None) != file_identity():
        connection.close()


def discard_if_damaged(error: BaseException) -> bool:
    """Delete the index if SQLite reports damage, and not a lock or a full disk; the next request rebuilds it."""
    if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
        return False
    if connection.connection is None or _opened.file == file_identity():  # another thread may have replaced it
        log.warning("%s: %s; it is deleted and rebuilt from the record", path(), error)
        _delete()
    if not connection.in_atomic_block:
        connection.close()
    return True


def position() -> Position | None:
    """Return what the index reflects; None if it reflects nothing, or cannot be used."""
    if file_identity() is None:
        return None
    try:
        return tables.position()
    except DatabaseError as exc:
        if discard_if_damaged(exc) or "no such" in str(exc):  # tables of another version
            return None
        raise


def schema_is_current() -> bool:
    """Return whether the tables are exactly those of this program's migrations."""
    try:
        return set(MigrationRecorder(connection).applied_migrations()) == _migrations()
    except DatabaseError as exc:
        if not discard_if_damaged(exc):
            raise
        return False


@cache
def _migrations() -> set[tuple[str, str]]:
    return set(MigrationLoader(None).disk_migrations or ())


def make() -> None:
    """Replace the index by an empty one. Open connections keep the old files, which have no names then."""
    connection.close()
    _delete()
    path().touch(mode=0o600)  # SQLite gives its other files the same mode
    call_command("migrate", verbosity=0, interactive=False)


def _delete() -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path().with_name(path().name + suffix).unlink(missing_ok=True)
