"""What the database could not do, as a problem that says when to try again, and whether something was stored.

APIException (DRF's)
├── Unavailable         something that this service needs is away: 503
│   ├── Busy            the database is locked, or does not answer, and nothing was stored: 503 with Retry-After
│   └── Unknown         it went away before it said whether it stored: 503 with Retry-After
└── Full                the database has no room for more: 507 with Retry-After
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
}
# PostgreSQL's error codes, appendix A: connections, rollbacks, resources, states of an object, interventions.
POSTGRESQL_AWAY = ("08", "40", "53", "55", "57")
# Those of them after which it may have committed: the connection was lost, or ended by an administrator or a crash.
POSTGRESQL_UNKNOWN = {"08000", "08003", "08006", "08007", "40003", "57P01", "57P02"}
SAFE = {"GET", "HEAD", "OPTIONS"}
# Seconds that a write waits while others have waited for longer, and already hold as many threads as may wait.
SOON = 2.0

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


class Turns:
    """Lets the threads of this process write to SQLite one after the other.

    They would take turns anyhow, but SQLite lets who waits sleep up to 0.1 s at a time, and others overtake. And while
    another process has the database for long, no more than so many threads wait for it: the others go on reading.
    """

    def __init__(self, patient: int) -> None:
        self.patient = threading.Semaphore(patient)
        self.writing = threading.Lock()
        self.since = 0.0
        self.own = threading.local()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Be the one that writes; a turn within a turn is the same one. Raises `Busy` where that takes too long."""
        if getattr(self.own, "taken", False):
            yield
            return
        patient = self.patient.acquire(blocking=False)
        try:
            with self.alone(time.monotonic() + (settings.BUSY_TIMEOUT if patient else SOON), patient=patient):
                yield
        finally:
            if patient:
                self.patient.release()

    @contextmanager
    def alone(self, deadline: float, *, patient: bool) -> Iterator[None]:
        """Hold the lock. What is left of the time until the deadline is for SQLite's own lock."""
        waited = not self.writing.acquire(blocking=False)
        if waited:
            longest = deadline if patient else min(deadline, self.since + SOON)
            if not self.writing.acquire(timeout=max(0.0, longest - time.monotonic())):
                raise Busy
        try:
            self.since, self.own.taken = time.monotonic(), True
            with within(deadline - self.since) if waited or not patient else nullcontext():
                yield
        finally:
            self.own.taken = False
            self.writing.release()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let SQLite wait no longer than that for its lock, once."""
    try:
        wait_at_most(seconds)
        yield
    finally:
        wait_at_most(settings.BUSY_TIMEOUT)


def wait_at_most(seconds: float) -> None:
    """Set how long SQLite waits for its lock on this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {max(0, round(seconds * 1000))}")


TURNS = Turns(settings.PATIENT_WRITERS)


def write_turn() -> AbstractContextManager[None]:
    """Return what one writes within; entering it raises `Busy` where SQLite is not to be had in time."""
    return TURNS.take() if connection.vendor == "sqlite" else nullcontext()


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
