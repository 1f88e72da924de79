"""What many users, and many sign-ins at once, cost. `-s` shows the figures."""

import os
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from django.contrib.auth.hashers import make_password
from tests.issuer import Issuer
from tests.ports import free_port
from tests.shares import share

from users import services, store
from users.models import User
from users.store.codec import encode

from .conftest import PASSWORD, PROJECT, Api, environment, use
from .test_processes import Service

pytestmark = pytest.mark.record

MANY = share(100_000)
# As they are shipped; tests take cheaper ones.
HASHES = {"ARGON2_MEMORY_KIB": "19456", "ARGON2_TIME": "2"}
# As manage_all.sh and the Dockerfile start the service.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
# What a worker loads before its first response.
LOAD = ("-c", "from chassis.gunicorn import *; import users_project.wsgi, users_project.urls")


def fill(state: Path, users: int, password: str) -> Path:
    """Write a record of so many users, all with one hash."""
    state.mkdir(mode=0o700, parents=True)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with (state / "users.jsonl").open("wb") as file:
        for number in range(1, users + 1):
            name = f"user{number}"
            role = "admin" if number == 1 else "default"
            user = User(pk=number, username=name, email=f"{name}@example.com", user_type=role, password=password)
            user.created_at = user.updated_at = at
            file.write(encode(user))
    return state


def seconds_of(state: Path, *arguments: str) -> float:
    """Return how much of a processor's time Python takes for that."""
    begun = os.times()
    subprocess.run([sys.executable, *arguments], cwd=PROJECT, env=environment(state), check=True, capture_output=True)
    ended = os.times()
    return ended.children_user - begun.children_user + ended.children_system - begun.children_system


def rate(state: Path, issuer: Issuer, users: int) -> float:
    """Return how many users by id a second of the processor's gives. A passport lives for a minute."""
    use(state)
    api = Api(issuer, 1, "admin")
    begun = time.process_time()
    for number in range(400):
        assert api("GET", f"/api/users/{1 + number * 7919 % users}").status_code == 200
    return 400 / (time.process_time() - begun)


def resident(pid: int, name: str = "VmRSS") -> float:
    """Return MiB of a process's memory."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024


def test_the_service_is_started_with_that_memory_setting():
    for path in ("manage_all.sh", "Dockerfile"):
        assert "MALLOC_MMAP_THRESHOLD_=1048576" in (PROJECT.parent / path).read_text()


@pytest.fixture
def password(settings) -> str:
    """Return a hash of the cost that is shipped."""
    cheap, settings.ARGON2 = settings.ARGON2, {"memory_kib": 19456, "time": 2}
    made = make_password(PASSWORD)
    settings.ARGON2 = cheap
    return made


def test_many_sign_ins_at_once_leave_no_memory_taken(tmp_path, issuer, password):
    service = Service(
        fill(tmp_path / "forty" / "users", 40, password), issuer, free_port(), USERS_WORKERS="1", **HASHES, **MALLOC
    )
    try:
        service.wait_until_ready()
        (worker,) = map(
            int, Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
        )
        passport = issuer.passport("gateway", audience="users", role="service")
        headers = {"Authorization": f"Bearer {passport}", "Request-User-Id": "gateway"}

        def sign_in(number: int) -> int:
            said = {"username": f"user{number}", "password": PASSWORD}
            return requests.post(
                f"{service.url}/internal/credentials", json=said, headers=headers, timeout=60
            ).status_code

        assert sign_in(1) == 200
        before = resident(worker)
        with ThreadPoolExecutor(40) as pool:
            statuses = set(pool.map(sign_in, range(1, 41)))
        print(f"MiB before {before:.0f}, at most {resident(worker, 'VmHWM'):.0f}, after {resident(worker):.0f}")  # noqa: T201
        # One that waited for too long gets 503.
        assert statuses <= {200, 503}
        # As many hashes at once as there are cores; a margin for 40 connections.
        assert resident(worker, "VmHWM") - before < 19 * ((os.cpu_count() or 1) + 1) + 16
        assert resident(worker) - before < 24
    finally:
        service.end(signal.SIGTERM)


def times_to_create(state: Path, name: str) -> list[tuple[float, float]]:
    """Return how many milliseconds each of 100 new users takes: of the processor's time, and as a person waits."""
    use(state)
    times = []
    for number in range(100):
        processor, begun = time.process_time(), time.monotonic()
        services.user_create(username=f"{name}{number}", email=f"{name}{number}@example.com", password="p")
        times.append((1000 * (time.process_time() - processor), 1000 * (time.monotonic() - begun)))
    return times


@pytest.mark.long
def test_100_000_users_cost_a_reader_and_a_writer_little(tmp_path, issuer, password):
    """Beside 100 users, by the processor's time, so that it holds on a busy machine."""
    few, many = fill(tmp_path / "few" / "users", 100, password), fill(tmp_path / "many" / "users", MANY, password)
    _, rebuild = (seconds_of(state, "manage.py", "check") for state in (few, many))
    start, least = (min(seconds_of(state, *LOAD) for _ in range(5)) for state in (many, few))
    for state in (few, many):
        use(state)
        store.current().open()
    read = statistics.median(rate(few, issuer, 100) / rate(many, issuer, MANY) for _ in range(7))
    times = [time for turn in range(5) for time in times_to_create(many, f"n{turn}")]
    create, waited = (statistics.quantiles(each, n=100)[98] for each in zip(*times, strict=True))
    print(f"get by id costs {read:.2f} of 100 users', create p99 {create:.1f} ms ({waited:.1f} ms by the clock)")  # noqa: T201
    print(f"rebuild {rebuild:.1f} s, start with an index {start:.2f} s, with 100 users {least:.2f} s")  # noqa: T201
    use(many)
    assert User.objects.count() == MANY + 500
    assert read < 1.25
    assert start < 1.5 * least
    assert create < 15
    assert rebuild < 15
