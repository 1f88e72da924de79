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

from users import journal, lines, services
from users.models import User

from .conftest import PASSWORD, PROJECT, Api, environment, use
from .test_processes import Service, free_port

pytestmark = pytest.mark.record

MANY = 100_000
# As they are shipped; tests take cheaper ones.
HASHES = {"ARGON2_MEMORY_KIB": "19456", "ARGON2_TIME": "2"}


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
            file.write(lines.dump(user))
    return state


def seconds_to_check(state: Path) -> float:
    """Return how long a process takes that opens the record."""
    begun = time.monotonic()
    command = [sys.executable, "manage.py", "check"]
    subprocess.run(command, cwd=PROJECT, env=environment(state), check=True, capture_output=True)
    return time.monotonic() - begun


def rate(state: Path, api: Api, users: int) -> float:
    """Return how many users by id a second of the processor's gives."""
    use(state)
    begun = time.process_time()
    for number in range(400):
        assert api("GET", f"/api/users/{1 + number * 7919 % users}").status_code == 200
    return 400 / (time.process_time() - begun)


def resident(pid: int, name: str = "VmRSS") -> float:
    """Return MiB of a process's memory."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024


@pytest.fixture
def password(settings) -> str:
    """Return a hash of the cost that is shipped."""
    cheap, settings.ARGON2 = settings.ARGON2, {"memory_kib": 19456, "time": 2, "parallelism": 1}
    made = make_password(PASSWORD)
    settings.ARGON2 = cheap
    return made


def test_many_sign_ins_at_once_leave_no_memory_taken(tmp_path, issuer, password):
    service = Service(
        fill(tmp_path / "forty" / "users", 40, password), issuer, free_port(), USERS_WORKERS="1", **HASHES
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
        # One that waited for too long is told to come again.
        assert statuses <= {200, 503}
        # As many hashes at once as there are cores; a margin for 40 connections.
        assert resident(worker, "VmHWM") - before < 19 * ((os.cpu_count() or 1) + 1) + 16
        assert resident(worker) - before < 24
    finally:
        service.end(signal.SIGTERM)


@pytest.mark.long
def test_100_000_users_cost_a_reader_and_a_writer_little(request, tmp_path, issuer, password):
    """The figures and their bounds with `-m long`; in a run of everything, a few users, and no bounds."""
    much = request.config.getoption("markexpr") == "long"
    users = MANY if much else 1000
    few, many = fill(tmp_path / "few" / "users", 100, password), fill(tmp_path / "many" / "users", users, password)
    rebuild, start = seconds_to_check(many), seconds_to_check(many)
    for state in (few, many):
        use(state)
        journal.open_record()
    api = Api(issuer, 1, "admin")
    ratio = statistics.median(rate(many, api, users) / rate(few, api, 100) for _ in range(7 if much else 1))
    use(many)
    times = []
    for number in range(500 if much else 20):
        begun = time.monotonic()
        services.user_create(username=f"new{number}", email=f"new{number}@example.com", password="p")
        times.append(1000 * (time.monotonic() - begun))
    p99 = statistics.quantiles(times, n=100)[98]
    print(f"get by id {ratio:.2f}, create p99 {p99:.1f} ms, rebuild {rebuild:.1f} s, start {start:.2f} s")  # noqa: T201
    assert User.objects.count() == users + len(times)
    if much:
        assert (ratio >= 0.8, rebuild < 15, start < 3, p99 < 15) == (True, True, True, True)
