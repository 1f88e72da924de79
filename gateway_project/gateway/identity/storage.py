"""What the gateway's database could not do, as a refusal that says when to try again. Nothing of that is stored.

Refused
├── StoreBusy           503  the database is locked, or does not answer
└── StoreFull           507  the database has no room for more
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import DatabaseError, InterfaceError

from gateway.policy.refusals import Refused

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

log = logging.getLogger(__name__)


class StoreBusy(Refused):
    """The database is locked or away (RFC 9110, section 15.6.4)."""

    status = 503

    def __init__(self) -> None:
        super().__init__("The sessions' database did not answer in time. Try again.", {"Retry-After": "1"})


class StoreFull(Refused):
    """There is no room for what is to be stored (RFC 4918, section 11.5)."""

    status = 507

    def __init__(self) -> None:
        super().__init__("There is no room to store the session. Try again later.", {"Retry-After": "60"})


def refusal(exc: Exception) -> Refused | None:
    """Return the refusal for what a database raised; `None` for anything else, as a fault of ours."""
    cause = exc.__cause__ if isinstance(exc, DatabaseError | InterfaceError) else None
    refused: Refused | None = None
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        refused = StoreFull() if code == sqlite3.SQLITE_FULL else StoreBusy() if code in SQLITE_AWAY else None
    elif isinstance(cause, psycopg.Error):
        if cause.sqlstate == psycopg.errors.DiskFull.sqlstate:
            refused = StoreFull()
        # A connection that is broken, or was never made, has no code.
        elif cause.sqlstate is None or cause.sqlstate.startswith(POSTGRESQL_AWAY):
            refused = StoreBusy()
    if refused:
        log.error("%d: the database says: %s", refused.status, exc)
    return refused


@contextmanager
def refusals() -> Iterator[None]:
    """Raise what a database raises as the `Refused` that it is, where it is one."""
    try:
        yield
    except (DatabaseError, InterfaceError) as exc:
        if (refused := refusal(exc)) is None:
            raise
        raise refused from exc
