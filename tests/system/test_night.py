"""What an operator meets at night: something was killed, hangs, or has no room; and what the commands say then."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.system.stack import Stack, children, until


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that these tests may break."""
    stack = Stack(tmp_path_factory.mktemp("var"))
    yield stack
    stack.down()
    assert stack.processes() == []


@pytest.fixture
def running(own: Stack) -> Stack:
    """It, up and ready, however the test before has left it."""
    if not all(map(own.is_ready, own.ports)):
        own.up()
    return own


def status(stack: Stack) -> dict[str, str]:
    """Return what `status` says of each, its second line too."""
    said: dict[str, str] = {}
    name = ""
    for line in stack.manage("status").stdout.splitlines():
        first, _, rest = line.partition(" ")
        name = first or name
        said[name] = said.get(name, "") + rest.strip()
    return said


def test_one_that_was_killed_is_said_and_started_again_and_the_others_go_on(running: Stack) -> None:
    # Its workers are busy, and hold its port for as long.
    number = running.master("users")
    for worker in children(number):
        os.kill(worker, signal.SIGSTOP)
    os.kill(number, signal.SIGKILL)
    said = status(running)
    assert said["users"].startswith("killed")
    assert "./manage_all.sh up -d users" in said["users"]
    assert said["orders"].startswith("ready")
    assert running.manage("status", "users").stdout.startswith("users    killed")
    others = {name: running.master(name) for name in ("orders", "gateway")}
    reloaded = running.manage("reload", check=False)
    assert reloaded.returncode == 1
    assert "not running: users" in reloaded.stderr
    for name in others:
        assert f"{name} is starting new workers" in reloaded.stderr
    running.manage("up", "-d", "users")
    assert {name: line.split()[0] for name, line in status(running).items()} == dict.fromkeys(running.ports, "ready")
    assert {name: running.master(name) for name in others} == others
    running.login("user", "u")


def test_after_kill_9_of_everything_up_is_all_it_takes(running: Stack) -> None:
    order = running.ask("POST", "/api/orders", {"item": "x", "address": "y"}, token=running.login("user", "u")).json
    masters = [running.master(name) for name in running.ports]
    for number in masters:
        os.kill(number, signal.SIGKILL)
    running.up()
    assert running.ask("GET", f"/api/orders/{order['id']}", token=running.login("user", "u")).json == order
    groups = [running.master(name) for name in running.ports]
    assert not set(groups) & set(masters)
    for number in groups:
        os.killpg(number, signal.SIGKILL)
    running.up()
    assert running.ask("GET", f"/api/orders/{order['id']}", token=running.login("user", "u")).json == order


def test_down_ends_what_a_killed_master_has_left(running: Stack) -> None:
    for name in running.ports:
        os.kill(running.master(name), signal.SIGKILL)
    running.down()
    assert running.processes() == []
    assert set(status(running).values()) == {"stopped"}


def test_an_up_that_fails_stops_nothing_that_ran_before(running: Stack) -> None:
    running.manage("down", "orders")
    before = {name: running.master(name) for name in ("users", "gateway")}
    with socket.create_server(("127.0.0.1", running.ports["orders"])):
        done = running.manage("up", "-d", check=False)
    assert done.returncode != 0
    assert f"port {running.ports['orders']} is in use" in done.stderr
    assert {name: running.master(name) for name in before} == before
    said = status(running)
    assert said["orders"] == "stopped"
    assert said["users"].startswith("ready")
    assert "orders: cannot be reached" in said["gateway"]


@pytest.mark.long
def test_one_that_hangs_is_told_from_one_that_is_down(running: Stack) -> None:
    number = running.master("users")
    os.killpg(number, signal.SIGSTOP)
    try:
        said = status(running)
    finally:
        os.killpg(number, signal.SIGCONT)
    assert "does not answer within" in said["users"]
    assert "users: did not respond in time" in said["gateway"]


def test_logs_of_nothing_are_none(tmp_path: Path) -> None:
    done = Stack(tmp_path / "var").manage("logs", check=False)
    assert done.returncode == 1
    assert "nothing was started there yet" in done.stderr


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Put a disk of 8 MiB there. To mount it is for root alone, and not in every container."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8M,mode=0700", "tmpfs", place], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"needs a small disk of its own, and cannot mount one: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb") as file, suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))


def test_a_full_disk_keeps_anything_from_being_started_and_is_said(tmp_path: Path) -> None:
    with small_disk(tmp_path / "var") as disk:
        stack = Stack(disk)
        fill(disk)
        done = stack.manage("up", "-d", check=False)
        assert done.returncode == 1
        assert f"no room on the disk of {disk}" in done.stderr
        assert stack.processes() == []


def test_where_the_logs_have_no_room_everything_goes_on(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var")
    with small_disk(stack.var / "logs") as disk:
        try:
            stack.up()
            fill(disk)
            for _ in range(20):
                token = stack.login("user", "u")
                assert stack.ask("GET", "/api/orders", token=token).status == 200
                assert stack.ask("GET", "/nothing", token=token).status == 404
            stack.manage("reload", "gateway")
            until(lambda: stack.ask("GET", "/readyz").status == 200, 30, "ready")
            assert (disk / "ballast").stat().st_size > 2**20
            assert {line.split()[0] for line in status(stack).values()} == {"ready"}
        finally:
            stack.down()
