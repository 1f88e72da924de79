"""Killed and hanging processes, a full disk, and the messages of the commands about them."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.disks import fill, small_disk
from tests.processes import children
from tests.system.stack import Stack, until


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that these tests may break."""
    stack = Stack(tmp_path_factory.mktemp("var"))
    yield stack
    stack.down()
    assert stack.processes() == []


@pytest.fixture
def running(own: Stack) -> Stack:
    """The stack, up and ready, whatever the last test did to it."""
    if not all(map(own.is_ready, own.ports)):
        own.up()
    return own


def status(stack: Stack) -> dict[str, str]:
    """Return the output of `status` for each project, with its second line."""
    lines: dict[str, str] = {}
    name = ""
    for line in stack.manage("status", check=False).stdout.splitlines():
        first, _, rest = line.partition(" ")
        name = first or name
        lines[name] = lines.get(name, "") + rest.strip()
    return lines


def test_status_reports_a_killed_project_and_up_starts_it_alone(running: Stack) -> None:
    # Its workers are busy, and keep its port.
    number = running.master("users")
    for worker in children(number):
        os.kill(worker, signal.SIGSTOP)
    os.kill(number, signal.SIGKILL)
    report = status(running)
    assert report["users"].startswith("killed")
    assert "./manage_all.sh up -d users" in report["users"]
    assert report["orders"].startswith("ready")
    assert running.manage("status", "users", check=False).stdout.startswith("users    killed")
    others = {name: running.master(name) for name in ("orders", "gateway")}
    reloaded = running.manage("reload", check=False)
    assert reloaded.returncode == 1
    assert "not running: users" in reloaded.stderr
    for name in others:
        assert f"{name} is starting new workers" in reloaded.stderr
    running.manage("up", "-d", "users")
    # The gateway may not have tried users again yet.
    until(lambda: {line.split()[0] for line in status(running).values()} == {"ready"}, 30, "all are ready")
    assert {name: running.master(name) for name in others} == others
    running.login("user", "u")


def test_after_kill_9_of_everything_up_starts_all(running: Stack) -> None:
    order = running.ask("POST", "/api/orders", {"item": "x", "address": "y"}, token=running.login("user", "u")).json
    masters = [running.master(name) for name in running.ports]
    for number in masters:
        os.killpg(number, signal.SIGKILL)
    running.up()
    assert not {running.master(name) for name in running.ports} & set(masters)
    assert running.ask("GET", f"/api/orders/{order['id']}", token=running.login("user", "u")).json == order


def test_down_stops_the_workers_of_a_killed_master_and_a_second_up_finds_all_data(running: Stack) -> None:
    order = running.ask("POST", "/api/orders", {"item": "x", "address": "y"}, token=running.login("user", "u")).json
    for name in running.ports:
        os.kill(running.master(name), signal.SIGKILL)
    running.down()
    assert running.processes() == []
    assert set(status(running).values()) == {"stopped"}
    again = running.manage("up", "-d")
    assert "Gatehouse is ready." in again.stdout
    assert "Installing" not in again.stderr
    assert running.ask("GET", f"/api/orders/{order['id']}", token=running.login("user", "u")).json == order


def test_a_failed_up_stops_no_running_project(running: Stack) -> None:
    running.manage("down", "orders")
    before = {name: running.master(name) for name in ("users", "gateway")}
    with socket.create_server(("127.0.0.1", running.ports["orders"])):
        done = running.manage("up", "-d", check=False)
    assert done.returncode != 0
    assert f"port {running.ports['orders']} is in use" in done.stderr
    assert {name: running.master(name) for name in before} == before
    report = status(running)
    assert report["orders"] == "stopped"
    assert report["users"].startswith("ready")
    assert "orders: cannot be reached" in report["gateway"]


@pytest.mark.long
def test_status_tells_a_hanging_project_from_a_stopped_one(running: Stack) -> None:
    number = running.master("users")
    os.killpg(number, signal.SIGSTOP)
    try:
        report = status(running)
    finally:
        os.killpg(number, signal.SIGCONT)
    assert "does not respond within" in report["users"]
    assert "users: did not respond in time" in report["gateway"]


def test_logs_of_an_unused_directory_are_an_error(tmp_path: Path) -> None:
    done = Stack(tmp_path / "var").manage("logs", check=False)
    assert done.returncode == 1
    assert "nothing was started there yet" in done.stderr


def test_a_full_disk_stops_the_start_and_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "var") as disk:
        stack = Stack(disk)
        fill(disk / "ballast")
        done = stack.manage("up", "-d", check=False)
        assert done.returncode == 1
        assert f"no room on the disk of {disk}" in done.stderr
        assert stack.processes() == []


def test_all_projects_serve_without_room_for_logs(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var")
    with small_disk(stack.var / "logs") as disk:
        try:
            stack.up()
            fill(disk / "ballast")
            for _ in range(5):
                token = stack.login("user", "u")
                assert stack.ask("GET", "/api/orders", token=token).status == 200
                assert stack.ask("GET", "/nothing", token=token).status == 404
            reloaded = stack.manage("reload", "gateway", check=False)
            assert reloaded.returncode == 1
            assert f"make room for {disk}/gateway.log" in reloaded.stderr
            until(lambda: stack.ask("GET", "/readyz").status == 200, 30, "ready")
            assert (disk / "ballast").stat().st_size > 2**20
            assert {line.split()[0] for line in status(stack).values()} == {"ready"}
        finally:
            stack.down()
