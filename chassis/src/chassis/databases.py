"""Database settings, and what a database's error means for the request.

    APIException (DRF's)
    ├── problems.Unavailable
    │   ├── DatabaseUnavailable     it is locked or down, and nothing was stored: 503
    │   └── OutcomeUnknown          the connection broke during a commit: stored, or not: 503
    └── StorageFull                 it has no room for more: 507

A write that fails must tell the client whether to send it again. A database that is locked, or that
never received the commit, has stored nothing. If the connection breaks after the commit was sent,
the outcome is unknown, and only an idempotent request is safe to repeat.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from rest_framework.exceptions import APIException

from .problems import Unavailable

# SQLite's primary result codes; the higher bytes of a code add detail that is not needed here.
_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
}
# PostgreSQL's error codes (appendix A): connections, rollbacks, resources, object states, interventions.
_POSTGRESQL_AWAY = ("08", "40", "53", "55", "57")
# Those after which a commit may have happened: the connection was lost, or ended by an administrator or a crash.
_POSTGRESQL_UNKNOWN = {"08000", "08003", "08006", "08007", "40003", "57P01", "57P02"}
_POSTGRESQL_FULL = "53100"
# Seconds between two tries of a database that cannot be reached.
_PAUSE = 0.5
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

log = logging.getLogger("chassis.databases")


class DatabaseUnavailable(Unavailable):
    default_code = "database_unavailable"
    default_detail = "The database did not respond in time. Nothing was stored. Try again."


class OutcomeUnknown(Unavailable):
    default_code = "outcome_unknown"
    default_detail = (
        "The database went away before it confirmed the write, which may or may not be stored. Try again; "
        "a request with an Idempotency-Key is not done twice."
    )


class StorageFull(APIException):
    """No room is left (RFC 4918, section 11.5)."""

    status_code = 507
    default_code = "storage_full"
    default_detail = "No storage space is left. Nothing was stored. Try again later."
    wait: int | None = 60


class Meaning(Enum):
    """What a database's error means; the value is the problem."""

    AWAY = DatabaseUnavailable
    UNKNOWN = OutcomeUnknown
    FULL = StorageFull


def meaning_of(exc: BaseException) -> Meaning | None:
    """Return what a database's exception means; `None` for a fault of the program."""
    if not isinstance(exc, DatabaseError | InterfaceError):
        return None
    cause = exc.__cause__
    if isinstance(cause, sqlite3.Error):
        return _meaning_of_sqlite(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    if hasattr(cause, "sqlstate"):  # psycopg's, which a project on SQLite need not install
        return _meaning_of_postgresql(cause)
    return None


def _meaning_of_sqlite(code: int) -> Meaning | None:
    if code == sqlite3.SQLITE_FULL:
        return Meaning.FULL
    if code == sqlite3.SQLITE_IOERR:  # a commit whose fsync failed may still be in the log
        return Meaning.UNKNOWN
    return Meaning.AWAY if code in _SQLITE_AWAY else None


def _meaning_of_postgresql(error: Any) -> Meaning | None:  # noqa: ANN401  # psycopg.Error, if it is installed
    code = error.sqlstate
    if code is None:  # an error of the connection
        never_connected = error.pgconn is not None or type(error).__name__ == "ConnectionTimeout"
        return Meaning.AWAY if never_connected else Meaning.UNKNOWN
    if code == _POSTGRESQL_FULL:
        return Meaning.FULL
    if not code.startswith(_POSTGRESQL_AWAY):
        return None
    return Meaning.UNKNOWN if code in _POSTGRESQL_UNKNOWN else Meaning.AWAY


def problem_of(exc: Exception, method: str | None) -> APIException | None:
    """Return the problem that a database's exception is for a request of that method; log its cause."""
    meaning = meaning_of(exc)
    if meaning is None or not isinstance(exc, OperationalError | InterfaceError):
        return None
    problem: APIException = meaning.value()
    log.error("%d: the database reports: %s", problem.status_code, exc)
    if method in _SAFE_METHODS and meaning is not Meaning.FULL:
        return DatabaseUnavailable("The database did not respond in time. Try again.")
    return problem


def wait_for(database: BaseDatabaseWrapper, report: Callable[[str], object]) -> None:
    """Return when the database accepts a connection. If it does not at once, report the cause."""
    reported = False
    while True:
        try:
            database.ensure_connection()
        except OperationalError as exc:
            if not reported:
                report(f"Waiting for the database: {exc}")
                reported = True
            time.sleep(_PAUSE)
        else:
            return


def check_migrations() -> None:
    """Raise `ImproperlyConfigured` if the tables lack some of this program's migrations: call it in wsgi.py.

    Only what is missing counts: a later version may have added tables, and other projects may use the same database. A
    database that is down does not keep the service from starting; requests are 503 until it is back.
    """
    try:
        executor = MigrationExecutor(connection)
        lacking = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError as exc:
        log.warning("The database cannot be checked at the start: %s", exc)
        return
    finally:
        connection.close()
    if lacking:
        raise ImproperlyConfigured("The database lacks tables of this version. Run `manage.py migrate`.")
