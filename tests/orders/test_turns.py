"""Whose turn it is to write: threads of one process, and processes, of which some are killed and some are greedy."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from django.db import connection
from tests.orders.serving import ON_SQLITE, PROJECT, Service

from chassis.databases import DatabaseUnavailable
from orders import turns
from orders.locks import TURN, byte_lock, byte_unlock, open_locks
from orders.turns import Turns

BOOK = {"item": "book", "address": "Main street 1"}
PATIENT = 2
pytestmark = pytest.mark.skipif(not ON_SQLITE, reason="of SQLite")


@pytest.fixture
def queue(monkeypatch):
    """Return the turns of this process."""
    monkeypatch.setattr(turns, "TURNS", Turns(PATIENT))
    return turns.TURNS


@contextmanager
def taken(queue: Turns, count: int = 1):
    """Have so many threads take turns; the first has it."""
    done = threading.Event()

    def hold() -> None:
        with suppress(DatabaseUnavailable), queue.take():
            done.wait(30)
        connection.close()

    with ThreadPoolExecutor(count) as threads:
        for _ in range(count):
            threads.submit(hold)
        deadline = time.monotonic() + 30
        while not (queue.writing.locked() and queue.patient._value == max(0, PATIENT - count)):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        try:
            yield
        finally:
            done.set()


@contextmanager
def taken_elsewhere():
    """Be another process that has its turn: its lock is of what was opened, not of who opened it. Yields what was."""
    descriptor = open_locks()
    try:
        assert byte_lock(descriptor, TURN)
        yield descriptor
    finally:
        os.close(descriptor)


def hold_shortly(queue: Turns) -> int:
    """Return how many milliseconds SQLite would have waited."""
    with queue.take(), connection.cursor() as cursor:
        return cursor.execute("PRAGMA busy_timeout").fetchone()[0]


@pytest.mark.django_db
class TestThreads:
    def test_a_write_whose_turn_does_not_come_is_503(self, user, queue, settings):
        settings.BUSY_TIMEOUT = 0.05
        with taken(queue):
            assert user(7).post("/api/orders", BOOK).status_code == 503
        assert user(7).post("/api/orders", BOOK).status_code == 201

    def test_who_comes_when_enough_wait_for_long_is_refused_at_once(self, user, queue, settings, monkeypatch):
        settings.BUSY_TIMEOUT = 600
        monkeypatch.setattr(turns, "SOON", 300)
        with taken(queue, PATIENT):
            queue.since -= turns.SOON
            refused = user(7).post("/api/orders", BOOK)
        assert (refused.status_code, refused["Retry-After"]) == (503, "1")
        assert user(7).post("/api/orders", BOOK).status_code == 201

    def test_who_comes_when_enough_wait_but_not_for_long_has_a_turn(self, queue, settings, monkeypatch):
        settings.BUSY_TIMEOUT = 6000
        monkeypatch.setattr(turns, "SOON", 600)
        for _ in range(PATIENT):
            queue.patient.acquire()
        queue.since = time.monotonic()
        threading.Timer(0.3, queue.patient.release).start()
        assert 0 < hold_shortly(queue) < 6_000_000

    def test_what_one_has_waited_for_ones_turn_is_no_longer_there_to_wait_for_sqlite(self, queue, settings):
        settings.BUSY_TIMEOUT = 60
        queue.writing.acquire()
        threading.Timer(0.3, queue.writing.release).start()
        assert 0 < hold_shortly(queue) < 60_000
        assert hold_shortly(queue) == 60_000

    def test_a_turn_within_a_turn_is_the_same(self, queue):
        with queue.take():
            with queue.take():
                assert queue.writing.locked()
            assert queue.writing.locked()
        assert not queue.writing.locked()
        assert queue.patient._value == PATIENT


@pytest.mark.django_db
class TestProcesses:
    @pytest.fixture(autouse=True)
    def state(self, settings, tmp_path, queue):
        settings.STATE = tmp_path
        settings.BUSY_TIMEOUT = 30
        return tmp_path

    def test_a_write_that_another_processs_turn_keeps_waiting_is_503(self, user, settings):
        settings.BUSY_TIMEOUT = 0.05
        with taken_elsewhere():
            refused = user(7).post("/api/orders", BOOK)
        assert (refused.status_code, refused["Retry-After"]) == (503, "1")
        assert user(7).post("/api/orders", BOOK).status_code == 201

    def test_what_was_waited_for_another_process_is_no_longer_there_to_wait_for_sqlite(self, queue, settings):
        settings.BUSY_TIMEOUT = 60
        with taken_elsewhere() as descriptor:
            threading.Timer(0.3, byte_unlock, (descriptor, TURN)).start()
            assert 0 < hold_shortly(queue) < 60_000

    def test_without_its_directory_nothing_is_stored_and_that_is_said(self, user, settings, state, caplog):
        settings.STATE = state / "nowhere"
        refused = user(7).post("/api/orders", BOOK)
        assert (refused.status_code, refused["Retry-After"]) == (503, "1")
        assert "orders.lock" in caplog.text
        settings.STATE = state
        assert user(7).post("/api/orders", BOOK).status_code == 201


@pytest.fixture(scope="module")
def service(issuer, tmp_path_factory):
    with Service(issuer, tmp_path_factory.mktemp("var")) as running:
        yield running


@contextmanager
def writing(service: Service, work: str):
    """Do that work in a process of its own that writes to the service's database; yield the process."""
    code = f"import time; from django.db import transaction; from orders.turns import write_turn\n{work}"
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
    with subprocess.Popen(
        command, cwd=PROJECT, env=service.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_next_turn_begins_as_another_process_ends_its_own(service):
    """SQLite alone would sleep until 0.33 s from the beginning each time; a busy machine is late some of the times."""
    work = """while input():
    with write_turn(), transaction.atomic():
        print("its turn", flush=True)
        time.sleep(0.25)
    print(time.monotonic(), flush=True)"""
    late = []
    with writing(service, work) as other, ThreadPoolExecutor(1) as threads:
        for _ in range(7):
            print("go on", file=other.stdin, flush=True)
            assert other.stdout.readline() == "its turn\n"
            waiting = threads.submit(service.ask, "POST", "/api/orders", BOOK)
            ended = float(other.stdout.readline())
            assert waiting.result().status == 201
            late.append(time.monotonic() - ended)
    assert min(late) < 0.05, late


def test_a_process_that_is_killed_amid_its_turn_keeps_nobody_waiting(service):
    work = """with write_turn(), transaction.atomic():
    print("its turn", flush=True)
    input()"""
    with writing(service, work) as other, ThreadPoolExecutor(1) as threads:
        assert other.stdout.readline() == "its turn\n"
        waiting = threads.submit(service.ask, "POST", "/api/orders", BOOK)
        # By then it waits: its worker has read so much after it.
        assert {service.ask("GET", "/api/orders").status for _ in range(100)} == {200}
        assert not waiting.done()
        other.kill()
        assert waiting.result().status == 201


def test_a_process_that_writes_on_and_on_leaves_turns_to_others(service):
    work = """print("begun", flush=True)
while True:
    with write_turn(), transaction.atomic():
        time.sleep(0.001)"""
    with writing(service, work) as greedy:
        assert greedy.stdout.readline() == "begun\n"
        assert {service.ask("POST", "/api/orders", BOOK).status for _ in range(30)} == {201}
        assert greedy.poll() is None
    assert service.ask("POST", "/api/orders", BOOK).status == 201
