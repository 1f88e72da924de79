"""A database that is locked, full or away; and copies of it while it is written to."""

import fcntl
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from tests.orders.serving import ON_SQLITE, Service, ask, write_lock

from orders.models import Order

BOOK = {"item": "book", "address": "Main street 1"}
sqlite_only = pytest.mark.skipif(not ON_SQLITE, reason="of SQLite")


@pytest.fixture(scope="module")
def service(issuer, tmp_path_factory):
    with Service(issuer, tmp_path_factory.mktemp("var")) as running:
        yield running


@contextmanager
def turn_taken(service: Service) -> Iterator[None]:
    """Hold the lock that the service's writers queue for."""
    with (service.state / "orders" / "orders.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@sqlite_only
def test_an_order_gets_its_time_when_its_turn_comes(service):
    """A user who lists orders never sees a new one appear behind an older one."""
    with ThreadPoolExecutor(1) as threads:
        with turn_taken(service):
            waiting = threads.submit(service.ask, "POST", "/api/orders", BOOK)
            # By then it waits: its worker has read so much after it.
            assert {service.ask("GET", "/api/orders").status for _ in range(100)} == {200}
            freed = datetime.now(UTC)
        placed = waiting.result()
    assert placed.status == 201
    assert datetime.fromisoformat(placed.json["created_at"]) >= freed


def test_a_locked_database_is_503_after_a_wait_and_reads_go_on(service):
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


def test_a_write_waits_for_another(service):
    with ThreadPoolExecutor(1) as threads:
        with write_lock(service):
            waiting = threads.submit(service.ask, "POST", "/api/orders", BOOK)
            assert service.ask("GET", "/api/orders").status == 200
        assert waiting.result().status == 201


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
def test_an_unexpected_error_is_500_without_details(user):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE orders_order RENAME TO elsewhere")
    answer = user(7).get("/api/orders")
    assert answer.status_code == 500
    assert b"orders_order" not in answer.content


@sqlite_only
def test_a_backup_is_of_one_moment_while_orders_are_placed(service, tmp_path):
    """Of a database so large that a copy in steps, begun again with each order placed, would not end."""
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
def test_a_backup_serves_in_place_of_the_database(service, issuer, tmp_path):
    placed = service.ask("POST", "/api/orders", BOOK | {"item": "kept"}, user_id=11).json
    service.manage("backup_orders", str(tmp_path / "copy.sqlite3"))
    (tmp_path / "orders").mkdir()
    (tmp_path / "copy.sqlite3").rename(tmp_path / "orders" / "orders.sqlite3")
    with Service(issuer, tmp_path, workers=1) as restored:
        assert restored.ask("GET", f"/api/orders/{placed['id']}", user_id=11).json == placed
        # Ids given after the backup are not given again.
        assert restored.ask("POST", "/api/orders", BOOK, user_id=11).json["id"] >= placed["id"] + 1_000_000


@sqlite_only
def test_a_backup_replaces_what_a_killed_one_has_left(service, tmp_path):
    (tmp_path / ".copy.unfinished").write_text("part of a database")
    service.manage("backup_orders", str(tmp_path / "copy"))
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@sqlite_only
def test_a_backup_without_orders_skips_ids_too(issuer, tmp_path):
    service = Service(issuer, tmp_path)
    service.manage("backup_orders", str(tmp_path / "copy"))
    with closing(sqlite3.connect(tmp_path / "copy")) as opened:
        assert opened.execute("SELECT seq FROM sqlite_sequence WHERE name = 'orders_order'").fetchone() == (1_000_000,)


@sqlite_only
def test_a_backup_does_not_overwrite_a_file(service, tmp_path):
    (tmp_path / "there").write_text("mine")
    refused = service.manage("backup_orders", str(tmp_path / "there"), check=False)
    assert refused.returncode != 0
    assert "exists" in refused.stderr
    assert (tmp_path / "there").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@sqlite_only
def test_a_backup_that_fails_leaves_nothing_and_names_the_file(service, tmp_path):
    refused = service.manage("backup_orders", str(tmp_path / "nowhere" / "copy"), check=False)
    assert refused.returncode != 0
    assert f"{tmp_path}/nowhere/copy cannot be written" in refused.stderr
    empty = Service(service.issuer, tmp_path, migrated=False)
    refused = empty.manage("backup_orders", str(tmp_path / "copy"), check=False)
    assert refused.returncode != 0
    assert not [path for path in tmp_path.iterdir() if "copy" in path.name]


@pytest.mark.skipif(ON_SQLITE, reason="of PostgreSQL")
def test_a_backup_of_postgresql_is_left_to_pg_dump(tmp_path):
    with pytest.raises(CommandError, match="pg_dump"):
        call_command("backup_orders", str(tmp_path / "copy"))


@sqlite_only
def test_a_write_whose_turn_does_not_come_is_503(service):
    with turn_taken(service), ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: service.ask("POST", "/api/orders", BOOK), range(2)))
    assert [(answer.status, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 2
    assert answers[0].json["code"] == "database_unavailable"
    assert service.ask("POST", "/api/orders", BOOK).status == 201
