"""What the database could not do, as a problem that says when to try again, and whether something was stored.

APIException (DRF's)
├── Unavailable         something that this service needs is away: 503
│   ├── Busy            the database is locked, or does not answer, and nothing was stored: 503 with Retry-After
│   └── Unknown         it went away before it said whether it stored: 503 with Retry-After
└── Full                the database has no room for more: 507 with Retry-After
"""

import logging
import sqlite3
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError
from rest_framework import exceptions
from rest_framework.response import Response

from . import problems

# Primary result codes of SQLite; the higher bytes of a code say more than is needed here.
SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
}
# PostgreSQL's error codes, appendix A: connections, rollbacks, resources, states of an object, interventions.
POSTGRESQL_AWAY = ("08", "40", "53", "55", "57")
# Those of them after which it may have committed: the connection was lost, or ended by an administrator or a crash.
POSTGRESQL_UNKNOWN = {"08000", "08003", "08006", "08007", "40003", "57P01", "57P02"}
SAFE = {"GET", "HEAD", "OPTIONS"}

log = logging.getLogger("storage")


class Busy(problems.Unavailable):
    """The database is locked or away (RFC 9110, section 15.6.4). Nothing was stored."""

    default_detail = "The database did not answer in time. Nothing was stored. Try again."


class Unknown(problems.Unavailable):
    """The connection broke between a write and its answer: it may have been done, or not."""

    default_detail = (
        "The database went away before it answered: this may have been stored, or not. Try again; "
        "a request with an Idempotency-Key is not done twice."
    )


class Full(exceptions.APIException):
    """There is no room for what is to be stored (RFC 4918, section 11.5)."""

    status_code = 507
    default_detail = "There is no room to store this. Nothing was stored. Try again later."
    wait = 60


def refusal(exc: Exception) -> exceptions.APIException | None:
    """Return the problem for what a database raised; `None` for a fault of ours."""
    cause = exc.__cause__
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_IOERR:  # as of a commit's fsync: it may be found in the log all the same
            return Unknown()
        return Full() if code == sqlite3.SQLITE_FULL else Busy() if code in SQLITE_AWAY else None
    if isinstance(cause, psycopg.Error):
        return refusal_of_postgresql(cause)
    return None


def refusal_of_postgresql(error: psycopg.Error) -> exceptions.APIException | None:
    """Return the same for PostgreSQL. An error without a code is one of the connection."""
    code = error.sqlstate
    if code is None:
        never_made = error.pgconn is not None or isinstance(error, psycopg.errors.ConnectionTimeout)
        return Busy() if never_made else Unknown()
    if code == psycopg.errors.DiskFull.sqlstate:
        return Full()
    if not code.startswith(POSTGRESQL_AWAY):
        return None
    return Unknown() if code in POSTGRESQL_UNKNOWN else Busy()


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the problem for an exception that a view raised; `None`, which means 500, for one nobody expected."""
    if isinstance(exc, (OperationalError, InterfaceError)) and (refused := refusal(exc)):
        log.error("%d: the database says: %s", refused.status_code, exc)
        exc = refused
    if isinstance(exc, (Busy, Unknown)) and context["request"].method in SAFE:
        exc = Busy("The database did not answer in time. Try again.")
    return problems.exception_handler(exc, context)
