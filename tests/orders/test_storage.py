"""A database that is locked, full or away; and copies of it while it is written to."""

import errno
import fcntl
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from tests.orders.serving import ON_SQLITE, PROJECT, Service, ask, write_lock

from orders.management.commands import backup_orders
from orders.models import Order
from orders_project.environment import THREADS

BOOK = {"item": "book", "address": "Main street 1"}
sqlite_only = pytest.mark.skipif(not ON_SQLITE, reason="of SQLite")


@pytest.fixture(scope="module")
def service(issuer, tmp_path_factory):
    with Service(issuer, tmp_path_factory.mktemp("var")) as running:
        yield running


@pytest.mark.skipif(not ON_SQLITE, reason="PostgreSQL's writers do not take turns")
def test_an_order_that_waited_for_the_database_is_not_older_than_one_that_came_before(service):
    with ThreadPoolExecutor(1) as threads:
        with write_lock(service):
            waiting = threads.submit(service.ask, "POST", "/api/orders", BOOK)
            # By then it waits: its worker has read so much after it.
            assert {service.ask("GET", "/api/orders").status for _ in range(100)} == {200}
            freed = datetime.now(UTC)
        placed = waiting.result()
    assert placed.status == 201
    assert datetime.fromisoformat(placed.json["created_at"]) >= freed


def test_a_locked_database_is_503_once_it_was_waited_for_and_reading_goes_on(service):
    before = service.items()
    with write_lock(service), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(service.ask, "POST", "/api/orders", BOOK)
        assert service.ask("GET", "/api/orders").status == 200
        refused = waiting.result()
    assert refused.status == 503, refused.body
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["Retry-After"] == "1"
    assert refused.json["origin"] == "orders"
    assert service.items() == before
    assert service.ask("POST", "/api/orders", BOOK).status == 201
    assert len(service.items()) == len(before) + 1


def test_a_write_waits_for_another_that_is_soon_done(service):
    with ThreadPoolExecutor(1) as threads:
        with write_lock(service):
            waiting = threads.submit(service.ask, "POST", "/api/orders", BOOK)
            assert service.ask("GET", "/api/orders").status == 200
        assert waiting.result().status == 201


def test_reading_goes_on_however_many_wait_to_write(service):
    """Three times as many as there are threads come to write, and reads behind them."""
    before, threads = service.items(), service.workers * THREADS
    with write_lock(service), ThreadPoolExecutor(3 * threads) as clients:
        writes = [clients.submit(service.ask, "POST", "/api/orders", BOOK) for _ in range(3 * threads)]
        refused = next(as_completed(writes)).result()
        read = [service.ask("GET", "/api/orders").status for _ in range(2 * threads)]
        if ON_SQLITE:
            waiting = [write for write in writes if not write.done()]
            assert len(waiting) >= service.workers, "nobody waits any more: what was read says nothing"
        answers = [write.result() for write in writes]
    assert set(read) == {200}
    assert {answer.status for answer in [refused, *answers]} == {503}
    assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
    assert service.items() == before


@sqlite_only
def test_the_database_is_in_wal_mode_and_commits_are_synchronous(service):
    with closing(sqlite3.connect(service.database)) as opened:
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    shown = service.manage("shell", "-v0", "-c", "from django.db import connection as c; k = c.cursor(); "
                           "print(k.execute('PRAGMA synchronous').fetchone(), c.transaction_mode)")  # fmt: skip
    assert shown.stdout.split("\n")[0] == "(2,) IMMEDIATE"


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_a_full_database_is_507_and_keeps_what_it_has(user):
    api = user(7)
    room = {"item": "i" * 200, "address": "a" * 500}
    with connection.cursor() as cursor:
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages + 5}")
        try:
            answers = [api.post("/api/orders", room) for _ in range(60)]
        finally:
            cursor.execute("PRAGMA max_page_count = 4294967294")
    acknowledged = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    refused = [answer for answer in answers if answer.status_code != 201]
    assert acknowledged
    assert {answer.status_code for answer in refused} == {507}
    assert (refused[0]["Content-Type"], refused[0]["Retry-After"]) == ("application/problem+json", "60")
    assert refused[0].json()["title"] == "Insufficient Storage"
    assert list(Order._base_manager.order_by("id").values_list("id", flat=True)) == acknowledged
    assert api.post("/api/orders", room).status_code == 201


@sqlite_only
@pytest.mark.django_db
def test_a_fault_of_ours_is_500_and_says_nothing_of_itself(user):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE orders_order RENAME TO elsewhere")
    answer = user(7).get("/api/orders")
    assert answer.status_code == 500
    assert b"orders_order" not in answer.content


@sqlite_only
def test_a_backup_is_of_one_moment_while_orders_are_placed(service, tmp_path):
    """Of a database so large that a copy in steps, begun anew with each order placed, would not end."""
    copy, done = tmp_path / "copy.sqlite3", threading.Event()
    with closing(sqlite3.connect(service.database)) as opened:
        opened.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
            "INSERT INTO orders_order (item, quantity, address, status, created_by, created_at, updated_at) "
            "SELECT hex(zeroblob(100)), 1, hex(zeroblob(250)), 'placed', 10, datetime(), datetime() FROM n"
        )
        opened.commit()

    def place() -> list[int]:
        placed = []
        with service.connected() as client:
            while not done.is_set():
                placed.append(ask(client, "POST", "/api/orders", BOOK, service.headers(9)).json["id"])
        return placed

    with ThreadPoolExecutor(2) as threads:
        placing = [threads.submit(place) for _ in range(2)]
        try:
            first = service.ask("POST", "/api/orders", BOOK, user_id=9).json["id"]
            backed_up = service.manage("backup_orders", str(copy))
            after = service.ask("POST", "/api/orders", BOOK, user_id=9).json["id"]
        finally:
            done.set()
        acknowledged = {first, after}.union(*(future.result() for future in placing))
    assert str(copy) in backed_up.stdout
    with closing(sqlite3.connect(copy)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        copied = {row[0] for row in opened.execute("SELECT id FROM orders_order WHERE created_by = 9")}
    assert first in copied
    assert after not in copied
    # All up to a moment, and none after it.
    assert copied == {number for number in acknowledged if number <= max(copied)}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["copy.sqlite3"]


@sqlite_only
def test_a_backup_is_made_in_one_step_so_that_no_write_makes_it_begin_anew(service, tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(backup_orders, "hear", lambda *step: steps.append(step))
    backup_orders.copy(service.database, tmp_path / "copy")
    ((_, remaining, pages),) = steps
    assert remaining == 0
    assert pages > 1


@sqlite_only
def test_a_backup_serves_in_place_of_the_database(service, issuer, tmp_path):
    placed = service.ask("POST", "/api/orders", BOOK | {"item": "kept"}, user_id=11).json
    service.manage("backup_orders", str(tmp_path / "copy.sqlite3"))
    (tmp_path / "orders").mkdir()
    (tmp_path / "copy.sqlite3").rename(tmp_path / "orders" / "orders.sqlite3")
    with Service(issuer, tmp_path, workers=1) as restored:
        assert restored.ask("GET", f"/api/orders/{placed['id']}", user_id=11).json == placed
        # Ids given after the backup are not given again.
        assert restored.ask("POST", "/api/orders", BOOK, user_id=11).json["id"] >= placed["id"] + 1_000_000


@pytest.fixture
def locked_service(issuer, tmp_path):
    """Return a service that does not run, whose database nobody can read: a backup waits for it."""
    with closing(sqlite3.connect(Service(issuer, tmp_path).database, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        yield Service(issuer, tmp_path, migrated=False)


def is_locked(path: Path) -> bool:
    """Return whether a backup that can be stopped writes the file: a moment before that it would leave it."""
    with path.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def stopped(service: Service, directory: Path, number: signal.Signals) -> int:
    """Stop a backup amid; return how it ended."""
    command = [sys.executable, "manage.py", "backup_orders", str(directory / "copy")]
    # Where a shell has put the tests into the background, SIGINT is ignored, and a child would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        backup = subprocess.Popen(command, cwd=PROJECT, env=service.environ, stderr=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 30
        while not any(map(is_locked, directory.iterdir())):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        backup.send_signal(number)
        return backup.wait(30)
    finally:
        backup.kill()
        backup.wait()


@sqlite_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_backup_that_is_stopped_leaves_nothing(locked_service, tmp_path_factory, number):
    directory = tmp_path_factory.mktemp("backups")
    assert stopped(locked_service, directory, number) != 0
    assert list(directory.iterdir()) == []


@sqlite_only
def test_what_a_killed_backup_left_goes_with_the_next_and_what_another_is_at_does_not(
    locked_service, service, tmp_path_factory
):
    directory = tmp_path_factory.mktemp("backups")
    stopped(locked_service, directory, signal.SIGKILL)
    (left,) = directory.iterdir()
    other, own = directory / ".copy.abcdefgh.unfinished", directory / ".copy.old"
    own.touch()
    with other.open("wb") as at_work:
        fcntl.flock(at_work, fcntl.LOCK_EX)
        service.manage("backup_orders", str(directory / "copy"))
    assert not left.exists()
    assert {path.name for path in directory.iterdir()} == {"copy", other.name, own.name}


@sqlite_only
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_backup_needs_no_links(service, tmp_path, monkeypatch, settings, number):
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.link", refuse)
    backup_orders.copy(service.database, tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy")) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        backup_orders.give_name(tmp_path / "copy", tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


@sqlite_only
def test_a_backup_of_no_orders_at_all_leaves_ids_out_too(issuer, tmp_path):
    service = Service(issuer, tmp_path)
    service.manage("backup_orders", str(tmp_path / "copy"))
    with closing(sqlite3.connect(tmp_path / "copy")) as opened:
        assert opened.execute("SELECT seq FROM sqlite_sequence WHERE name = 'orders_order'").fetchone() == (1_000_000,)


@sqlite_only
def test_a_backup_leaves_a_file_alone_that_exists(service, tmp_path):
    (tmp_path / "there").write_text("mine")
    refused = service.manage("backup_orders", str(tmp_path / "there"), check=False)
    assert refused.returncode != 0
    assert "exists" in refused.stderr
    assert (tmp_path / "there").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@sqlite_only
@pytest.mark.parametrize(
    ("database", "message"), [("nothing there", "there is no .*nothing there"), ("no database", "could not be written")]
)
def test_a_backup_that_fails_leaves_nothing(monkeypatch, tmp_path, database, message):
    (tmp_path / "no database").write_text("no database" * 1000)
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / database))
    with pytest.raises(CommandError, match=message):
        call_command("backup_orders", str(tmp_path / "copy"))
    assert [path.name for path in tmp_path.iterdir()] == ["no database"]


@sqlite_only
def test_a_backup_into_no_directory_is_an_error_that_names_the_file(service, tmp_path, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "NAME", str(service.database))
    with pytest.raises(CommandError, match="nowhere"):
        call_command("backup_orders", str(tmp_path / "nowhere" / "copy"))


@pytest.mark.skipif(ON_SQLITE, reason="of PostgreSQL")
def test_a_backup_of_postgresql_is_pg_dumps(tmp_path):
    with pytest.raises(CommandError, match="pg_dump"):
        call_command("backup_orders", str(tmp_path / "copy"))
