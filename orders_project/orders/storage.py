"""What the database could not do, as a problem that says when to try again. Nothing of such a request is stored.

APIException (DRF's)
├── Unavailable         something that this service needs is away: 503
│   └── Busy            the database is locked, or does not answer: 503 with Retry-After
└── Full                the database has no room for more: 507 with Retry-After
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from rest_framework import exceptions
from rest_framework.response import Response

from . import problems

# Primary result codes of SQLite; the higher bytes of a code say more than is needed here.
SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
}
# PostgreSQL's error codes, appendix A: connections, rollbacks, resources, states of an object, interventions.
POSTGRESQL_AWAY = ("08", "40", "53", "55", "57")

log = logging.getLogger("storage")
WRITING = threading.RLock()


class Busy(problems.Unavailable):
    """The database is locked or away (RFC 9110, section 15.6.4)."""

    default_detail = "The database did not answer in time. Nothing was stored. Try again."
    wait = 1


class Full(exceptions.APIException):
    """There is no room for what is to be stored (RFC 4918, section 11.5)."""

    status_code = 507
    default_detail = "There is no room to store this. Nothing was stored. Try again later."
    wait = 60


@contextmanager
def write_turn() -> Iterator[None]:
    """Let the threads of this process write to SQLite one after the other; raise `Busy` where that takes too long.

    They would take turns anyhow, but SQLite lets who waits sleep up to 0.1 s at a time, and others overtake.
    """
    if connection.vendor != "sqlite":
        yield
        return
    if not WRITING.acquire(timeout=settings.BUSY_TIMEOUT):
        raise Busy
    try:
        yield
    finally:
        WRITING.release()


def refusal(exc: Exception) -> exceptions.APIException | None:
    """Return the problem for what a database raised; `None` for a fault of ours."""
    cause = exc.__cause__
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        return Full() if code == sqlite3.SQLITE_FULL else Busy() if code in SQLITE_AWAY else None
    if isinstance(cause, psycopg.Error):
        if cause.sqlstate == psycopg.errors.DiskFull.sqlstate:
            return Full()
        # A connection that is broken, or was never made, has no code.
        return Busy() if cause.sqlstate is None or cause.sqlstate.startswith(POSTGRESQL_AWAY) else None
    return None


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the problem for an exception that a view raised; `None`, which means 500, for one nobody expected."""
    if isinstance(exc, (OperationalError, InterfaceError)) and (refused := refusal(exc)):
        log.error("%d: the database says: %s", refused.status_code, exc)
        exc = refused
    return problems.exception_handler(exc, context)
