"""What holds when several real processes write at once, and when they are killed while they do."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
import requests
from tests.ports import free_port
from tests.processes import children
from tests.shares import share
from tests.system.stack import until
from tests.waiting import ENDED_WITHIN

from users import store
from users.models import User

from .conftest import CHEAP_HASHES, PASSWORD, PROJECT, environment, stored

pytestmark = pytest.mark.record

DEADLINE = 60.0

CREATE_AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from django.db import connection
from chassis.problems import Conflict, Unavailable

process = int(sys.argv[1])
own = [f"own-{process}-{number}" for number in range(40)]
shared = [f"shared-{number}" for number in range(20)]
store.current().open()
print("ready", flush=True)
sys.stdin.readline()

def create(name):
    while True:
        try:
            services.user_create(username=name, email=f"{name}@example.com", password="p")
            return name
        except Conflict:
            return ""
        except Unavailable:
            pass  # on a busy machine the others' writes may take too long; nothing was written

def create_all(names):
    try:
        return [create(name) for name in names]
    finally:
        connection.close()

work = [own[thread::2] + shared for thread in range(2)]
with ThreadPoolExecutor(2) as threads:
    made = [name for names in threads.map(create_all, work) for name in names if name]
print(" ".join(made))
"""


def started(state: Path, *program: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", *program], env=environment(state, DJANGO_SETTINGS_MODULE="users_project.settings"),
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.long)])
def test_users_made_at_once_are_each_there_exactly_once(count, state, record):
    """Two threads in each process; 20 of the names are wanted by every thread."""
    setup = "import django; django.setup()\nfrom users import services, store\n"
    processes = [started(state, setup + CREATE_AT_ONCE, str(number)) for number in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    made = [name for process in processes for name in process.communicate(timeout=120)[0].split()]
    assert [process.returncode for process in processes] == [0] * count
    names = {f"own-{process}-{number}" for process in range(count) for number in range(40)}
    names |= {f"shared-{number}" for number in range(20)}
    assert Counter(made) == Counter(names)
    lines = stored(record)
    assert Counter(line["username"] for line in lines) == Counter(names)
    assert sorted(line["id"] for line in lines) == list(range(1, len(names) + 1))
    store.current().catch_up()
    rows = list(User.objects.values())
    assert {row["username"] for row in rows} == names
    for path in state.glob("index.sqlite3*"):
        path.unlink()
    store.current().catch_up()
    assert list(User.objects.values()) == rows


class Service:
    """The users service under gunicorn, as it is deployed, in a process group of its own."""

    def __init__(self, state: Path, issuer, port: int, **variables: str) -> None:
        self.issuer = issuer
        self.url = f"http://127.0.0.1:{port}"
        variables = {"USERS_PORT": str(port), "JWKS_URL": issuer.url, "USERS_WORKERS": "2"} | variables
        self.log = (state.parent / "gunicorn.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "users_project.wsgi"],
            cwd=PROJECT,
            env=environment(state, **(CHEAP_HASHES | variables)),
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def request(self, session: requests.Session, method: str, path: str, **body: object) -> requests.Response:
        passport = self.issuer.passport(1, audience="users", role="admin")
        headers = {"Authorization": f"Bearer {passport}", "Request-User-Id": "1"}
        return session.request(method, self.url + path, json=body or None, headers=headers, timeout=10)

    def wait_until_ready(self) -> None:
        until(lambda: self.process.poll() is not None or self.is_well(), DEADLINE, "a service that responds")
        assert self.process.poll() is None

    def is_well(self) -> bool:
        try:
            return requests.get(f"{self.url}/livez", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def end(self, number: signal.Signals) -> None:
        """Send the signal, to all of the group where it is SIGKILL, and wait until none of it is left."""
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(DEADLINE)
        self.log.close()
        until(lambda: not group_lives(self.process.pid), DEADLINE, "the end of all its processes")


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def serving(state: Path, issuer, port: int, **variables: str) -> Iterator[Service]:
    service = Service(state, issuer, port, **variables)
    try:
        service.wait_until_ready()
        yield service
    finally:
        if service.process.poll() is None:
            service.end(signal.SIGKILL)


def create_until(service: Service, stop: Event, prefix: str, acknowledged: list[str], asked: list[str]) -> None:
    with requests.Session() as session:
        number = 0
        while not stop.is_set():
            name = f"{prefix}-{number}"
            number += 1
            asked.append(name)
            try:
                answer = service.request(
                    session, "POST", "/api/users", username=name, email=f"{name}@example.com", password=PASSWORD
                )
            except requests.RequestException:
                return
            assert answer.status_code == 201, answer.text
            acknowledged.append(name)


def listed(service: Service) -> list[str]:
    names, path = [], "/api/users?limit=200"
    with requests.Session() as session:
        while path:
            answer = service.request(session, "GET", path)
            assert answer.status_code == 200, answer.text
            names += [user["username"] for user in answer.json()["results"]]
            path = (answer.json()["next"] or "").removeprefix(service.url)
    return names


@pytest.mark.parametrize("rounds", [2, pytest.param(share(20), marks=pytest.mark.long)])
def test_every_acknowledged_user_is_there_after_kill_9_amid_writes(rounds, state, record, issuer):
    acknowledged: list[str] = []
    asked: list[str] = []
    port = free_port()
    for number in range(rounds):
        with serving(state, issuer, port) as service, ThreadPoolExecutor(4) as writers:
            assert set(acknowledged) <= set(listed(service))
            stop, before = Event(), len(acknowledged)
            work = [
                writers.submit(create_until, service, stop, f"r{number}w{n}", acknowledged, asked) for n in range(4)
            ]
            enough = before + 15 + number
            until(lambda enough=enough: len(acknowledged) >= enough, DEADLINE, "acknowledged users")
            service.end(signal.SIGKILL)
            stop.set()
            for done in work:
                done.result(DEADLINE)
        # Every line but a torn last one is whole, before anything has repaired it.
        lines = record.read_bytes().splitlines(keepends=True)
        names = [json.loads(line)["username"] for line in lines if line.endswith(b"\n")]
        assert set(acknowledged) <= set(names) <= set(asked)
        assert max(Counter(names).values()) == 1
    with serving(state, issuer, port) as service:
        names = listed(service)
        assert set(acknowledged) <= set(names) <= set(asked)
        assert sorted(names) == sorted(line["username"] for line in stored(record))
        service.end(signal.SIGTERM)


@pytest.mark.parametrize("how", ["start", "reload and a worker is killed"])
def test_a_record_that_cannot_be_read_ends_no_service(make, state, record, issuer, how):
    make("eva", user_type="admin")
    whole = record.read_text()
    if how == "start":
        record.write_text(whole + "nonsense\n")
    with serving(state, issuer, free_port(), USERS_WORKERS="1") as service, requests.Session() as session:
        record.write_text(whole + "nonsense\n")

        def is_only_read() -> bool:
            (worker,) = children(service.process.pid)
            assert listed(service) == ["eva"]
            assert requests.get(f"{service.url}/readyz", timeout=5).status_code == 200
            assert service.request(session, "PATCH", "/api/users/1", full_name="Eva").status_code == 503
            return worker

        worker = is_only_read()
        for number in [] if how == "start" else [signal.SIGHUP, signal.SIGKILL]:
            os.kill(service.process.pid if number == signal.SIGHUP else worker, number)
            until(lambda old=worker: old not in children(service.process.pid), DEADLINE, "another")
            until(service.is_well, DEADLINE, "a response")
            worker = is_only_read()
        record.write_text(whole)
        assert service.request(session, "PATCH", "/api/users/1", full_name="Eva").status_code == 200
        service.end(signal.SIGTERM)
    log = (state.parent / "gunicorn.log").read_text()
    assert f"{record}:2: expected a JSON object" in log
    assert "argon2id" not in log


COMPACT_WHEN_TOLD = """
import sys
import django; django.setup()
from users import store
from users.store import compaction

journal = store.current()
journal.open()
print("ready", flush=True)
while sys.stdin.readline():
    with journal.lock.held():
        compaction.compact(journal.path, journal._bring_up())
    print("compacted", flush=True)
"""


def rename_until(service: Service, stop: Event, user_id: int) -> str:
    """Change the user's full name again and again; return what was acknowledged last."""
    name, number = "", 0
    with requests.Session() as session:
        while not stop.is_set():
            number += 1
            answer = service.request(session, "PATCH", f"/api/users/{user_id}", full_name=f"Name {number}")
            assert answer.status_code == 200, answer.text
            name = answer.json()["full_name"]
    return name


def read_until(service: Service, stop: Event, acknowledged: list[str]) -> int:
    """Read all users again and again: all that were acknowledged before are there. Return how often."""
    times = 0
    while not stop.is_set():
        before = set(acknowledged)
        assert before <= set(listed(service))
        times += 1
    return times


@pytest.mark.parametrize("least", [3, pytest.param(share(300), marks=pytest.mark.long)])
def test_a_compaction_while_others_read_and_write_loses_nothing(least, make, state, record, issuer):
    """In one process, after each few writes of others."""
    renamed = [make(f"renamed{number}", user_type="admin") for number in range(2)]
    acknowledged: list[str] = []
    stop, compactions = Event(), 0
    with serving(state, issuer, free_port()) as service, ThreadPoolExecutor(5) as others:
        compactor = started(state, COMPACT_WHEN_TOLD)
        try:
            assert compactor.stdout.readline() == "ready\n"
            writers = [others.submit(create_until, service, stop, f"w{n}", acknowledged, []) for n in range(2)]
            renamers = [others.submit(rename_until, service, stop, user.pk) for user in renamed]
            reader = others.submit(read_until, service, stop, acknowledged)
            while compactions < least:
                enough = len(acknowledged) + 3
                until(lambda enough=enough: len(acknowledged) >= enough, DEADLINE, "acknowledged users")
                print("compact", file=compactor.stdin, flush=True)
                assert compactor.stdout.readline() == "compacted\n"
                compactions += 1
        finally:
            stop.set()
            compactor.communicate(timeout=DEADLINE)
        assert compactor.returncode == 0
        assert all(writer.result(DEADLINE) is None for writer in writers)
        last = [renamer.result(DEADLINE) for renamer in renamers]
        assert reader.result(DEADLINE)
        service.end(signal.SIGTERM)
    store.current().catch_up()
    found = dict(User.objects.values_list("username", "full_name"))
    assert found == dict.fromkeys(acknowledged, "") | dict(zip(("renamed0", "renamed1"), last, strict=True))
    rows = list(User.objects.values())
    store.current().verify()
    assert list(User.objects.values()) == rows


def create_through(service: Service, stop: Event, prefix: str, given: list[tuple[int, str]]) -> None:
    """Create users, and deactivate each, until told to stop. A 503 is tried again: the file was being replaced."""
    number = 0
    with requests.Session() as session:
        while not stop.is_set():
            name = f"{prefix}-{number}"
            number += 1
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            created = service.request(session, "POST", "/api/users", **body)
            if created.status_code == 201:
                given.append((created.json()["id"], name))
                path = f"/api/users/{created.json()['id']}"
                changed = service.request(session, "PATCH", path, is_active=False)
                assert changed.status_code in {200, 404, 503}, changed.text  # 404: the copy does not have the user
            else:
                assert created.status_code == 503, created.text


def test_yesterdays_copy_restored_under_load_ends_all_sessions_and_gives_no_id_again(make, state, record, issuer):
    make("root", user_type="admin")
    given: list[tuple[int, str]] = []
    stop = Event()

    def have(count: int) -> None:
        until(lambda: len(given) >= count, DEADLINE, "users created by others")

    with serving(state, issuer, free_port()) as service, requests.Session() as session, ThreadPoolExecutor(4) as others:
        passport = issuer.passport("gateway", audience="users", role="service")
        headers = {"Authorization": f"Bearer {passport}", "Request-User-Id": "gateway"}

        def ends(cursor: str = "") -> dict:
            response = session.get(f"{service.url}/internal/session-ends?after={cursor}", headers=headers, timeout=10)
            assert response.status_code == 200, response.text
            return response.json()

        def ended() -> dict | None:
            found = ends(cursor)
            return found if found["all_ended"] else None

        writers = [others.submit(create_through, service, stop, f"w{number}", given) for number in range(4)]
        try:
            have(15)
            copy = state.parent / "yesterday.jsonl"
            shutil.copy(record, copy)  # with a torn tail, it may be
            have(45)
            cursor = ends()["cursor"]
            assert not ends(cursor)["all_ended"]
            before = len(given)
            copy.rename(record)
            renamed = time.monotonic()
            found = until(ended, ENDED_WITHIN, "a new generation")
            print(f"all sessions ended after {1000 * (time.monotonic() - renamed):.0f} ms")  # noqa: T201
            assert not ends(found["cursor"])["all_ended"]
            have(before + 40)
        finally:
            stop.set()
        for writer in writers:
            writer.result(DEADLINE)
        names = listed(service)
        service.end(signal.SIGTERM)
    assert max(Counter(user_id for user_id, _ in given).values()) == 1
    lost = {name for _, name in given} - set(names)
    assert 25 <= len(lost) <= before + 4  # those since the copy, and those that were being created at the rename
    last = {name for _, name in given[before + 8 :]}
    assert last <= set(names)
    assert sorted(names) == sorted({line["username"] for line in stored(record)})
