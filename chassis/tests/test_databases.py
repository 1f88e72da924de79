"""What a database's error means, and the settings of databases."""

import socket
import sqlite3
from contextlib import closing

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connection, connections

from chassis import database_settings, databases
from chassis.databases import Meaning


def raised(kind: type[Exception], cause: Exception | None) -> Exception:
    exc = kind("what it says")
    exc.__cause__ = cause
    return exc


def of_sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("what it says")
    error.sqlite_errorcode = code
    return error


def never_made() -> psycopg.Error:
    """Return what psycopg raises on a port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(psycopg.OperationalError) as raised_by:
            psycopg.connect(f"host=127.0.0.1 port={bound.getsockname()[1]}")
    return raised_by.value


AWAY, UNKNOWN, FULL = Meaning
CAUSES = [
    (of_sqlite(sqlite3.SQLITE_BUSY), AWAY),
    (of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), AWAY),
    (of_sqlite(sqlite3.SQLITE_LOCKED_SHAREDCACHE), AWAY),
    (of_sqlite(sqlite3.SQLITE_IOERR_FSYNC), UNKNOWN),
    (of_sqlite(sqlite3.SQLITE_CANTOPEN), AWAY),
    (of_sqlite(sqlite3.SQLITE_READONLY), AWAY),
    (of_sqlite(sqlite3.SQLITE_FULL), FULL),
    (of_sqlite(sqlite3.SQLITE_ERROR), None),
    (sqlite3.OperationalError("no code"), None),
    (psycopg.errors.DiskFull(), FULL),
    (psycopg.errors.LockNotAvailable(), AWAY),
    (psycopg.errors.QueryCanceled(), AWAY),
    (psycopg.errors.DeadlockDetected(), AWAY),
    (psycopg.errors.TooManyConnections(), AWAY),
    (psycopg.errors.CannotConnectNow(), AWAY),
    (psycopg.errors.ConnectionTimeout(), AWAY),
    (never_made(), AWAY),
    (psycopg.errors.AdminShutdown(), UNKNOWN),
    (psycopg.errors.ConnectionFailure(), UNKNOWN),
    (psycopg.OperationalError("server closed the connection unexpectedly"), UNKNOWN),
    (psycopg.errors.UndefinedTable(), None),
    (None, None),
]


@pytest.mark.parametrize(("cause", "expected"), CAUSES, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_what_a_database_raises_means_something_unless_it_is_a_fault_of_the_program(kind, cause, expected):
    exc = raised(kind, cause)
    assert databases.meaning_of(exc) is expected
    problem = databases.problem_of(exc, "POST")
    assert type(problem) is (expected.value if expected else type(None))
    assert problem is None or problem.wait > 0


def test_an_exception_that_is_not_a_database_s_means_nothing():
    assert databases.meaning_of(ValueError()) is None


def test_a_problem_states_that_nothing_was_stored_only_if_that_is_known():
    assert "Nothing was stored" in AWAY.value.default_detail
    assert "Nothing was stored" in FULL.value.default_detail
    assert "Nothing was stored" not in UNKNOWN.value.default_detail


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_failed_read_does_not_mention_storing(method):
    problem = databases.problem_of(raised(OperationalError, psycopg.errors.AdminShutdown()), method)
    assert problem.get_codes() == "database_unavailable"
    assert "stored" not in str(problem.detail)


@pytest.fixture
def file(tmp_path, django_db_blocker):
    """Use a database in a file, whose connection does not wait for a lock."""
    path, before = tmp_path / "shop.sqlite3", connections["default"]
    with django_db_blocker.unblock():
        connections["default"] = connections.create_connection("default")
        connections["default"].settings_dict |= database_settings.sqlite(path, busy_timeout=0)
        call_command("migrate", verbosity=0, run_syncdb=True)
        yield path
        connections["default"].close()
        connections["default"] = before


def test_a_locked_database_is_503_until_the_other_writer_is_done(user, file):
    sale = {"item": "book", "address": "Main street 1"}
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = user(7).post("/sales", sale)
        assert (answer.status_code, answer["Retry-After"]) == (503, "1")
        assert answer.json()["code"] == "database_unavailable"
        other.rollback()
        assert user(7).post("/sales", sale).status_code == 201
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)


def test_postgresql_s_settings_limit_every_wait_and_take_the_url_s_options():
    made = database_settings.postgresql("postgres://user:secret@db:5433/shop?options=-c%20lock_timeout%3D1s")
    assert (made["NAME"], made["HOST"], made["PORT"], made["CONN_HEALTH_CHECKS"]) == ("shop", "db", 5433, True)
    options = made["OPTIONS"]["options"]
    assert options.endswith("-c lock_timeout=1s")  # the last one wins
    assert "statement_timeout" in options
    assert made["OPTIONS"]["connect_timeout"] > 0


@pytest.mark.django_db
def test_a_database_without_its_tables_is_not_taken():
    databases.check_migrations()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations")
    with pytest.raises(ImproperlyConfigured, match="migrate"):
        databases.check_migrations()
