"""Start, stop, and failures to start."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.processes import children
from tests.system.stack import ROOT, Stack, until


def test_only_the_owner_can_read_the_state(stack: Stack) -> None:
    for path in (stack.var / "gateway" / "keys").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    for name in ("gateway", "users", "orders"):
        assert (stack.var / name).stat().st_mode & 0o077 == 0, name
    assert (stack.var / "users" / "users.jsonl").stat().st_mode & 0o077 == 0


def test_a_fault_in_gateway_yaml_stops_the_start_and_has_a_place(tmp_path: Path) -> None:
    text = (
        (ROOT / "gateway_project" / "gateway.yaml").read_text().replace("allow: authenticated", "allow: everybody", 1)
    )
    config = tmp_path / "faulty.yaml"
    config.write_text(text.replace("version: 1", "version: 1\ncolour: red", 1))
    stack = Stack(tmp_path / "var", {"GATEWAY_CONFIG": str(config)})
    done = stack.manage("up", "-d", "gateway", check=False)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "colour" in output
    assert "everybody" in output
    assert "faulty.yaml:" in output
    assert stack.processes() == []


def test_a_port_in_use_is_named_and_nothing_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stack = Stack(tmp_path / "var", {"GATEWAY_PORT": str(port)})
        for names in ([], ["gateway"]):
            done = stack.manage("up", "-d", *names, check=False)
            assert done.returncode != 0
            assert f"port {port} is in use" in done.stderr
            assert "killed" not in done.stderr
    assert stack.processes() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("GATEWAY_WORKERS", "many"), ("ORDERS_PORT", "99999"), ("LOG_LEVEL", "loud"), ("TRUSTED_PROXIES", "10.0.0.0/40")],
)
def test_a_bad_setting_stops_the_start_and_is_named(tmp_path: Path, name: str, value: str) -> None:
    project = "orders" if name.startswith("ORDERS") else "gateway"
    stack = Stack(tmp_path / "var")
    stack.environ[name] = value
    done = stack.manage("up", "-d", project, check=False)
    assert done.returncode != 0
    assert name in done.stdout + done.stderr
    assert stack.processes() == []


@pytest.mark.parametrize("project", ["gateway", "users", "orders"])
def test_production_rejects_a_default_secret(tmp_path: Path, project: str) -> None:
    stack = Stack(tmp_path / "var", {"GATEHOUSE_ENV": "production"})
    done = stack.manage("up", "-d", project, check=False)
    assert done.returncode != 0
    assert f"{project.upper()}_SECRET_KEY" in done.stdout + done.stderr


def test_a_stopped_service_is_a_502_with_its_name_and_the_others_serve(stack: Stack) -> None:
    token = stack.login("user", "u")
    stack.manage("down", "orders")
    try:
        reply = stack.ask("GET", "/api/orders", token=token)
        assert reply.status == 502
        assert reply.json["service"] == "orders"
        assert reply.json["origin"] == "gateway"
        assert stack.ask("GET", "/api/users/me", token=token).status == 200
        ready = stack.ask("GET", "/readyz")
        assert (ready.status, ready.json["services"]["users"]) == (200, "ok")
        assert "cannot be reached" in ready.json["services"]["orders"]
        status = stack.manage("status", check=False).stdout.splitlines()
        assert [line.split()[:2] for line in status if line[0] != " "] == [
            ["users", "ready"],
            ["orders", "stopped"],
            ["gateway", "ready"],
        ]
        assert "orders: cannot be reached" in status[-1]
    finally:
        stack.manage("up", "-d", "orders")
    assert stack.ask("GET", "/api/orders", token=token).status == 200


def with_a_hanging_service(directory: Path, port: int, *, login: str = "users") -> Path:
    """Return a gateway.yaml with a service that never responds to requests for its health and document."""
    text = (ROOT / "gateway_project" / "gateway.yaml").read_text()
    hanging = f"  reports: {{url: 'http://127.0.0.1:{port}', health: /health, openapi: /openapi.json}}\n"
    text = text.replace("services:\n", f"services:\n{hanging}", 1).replace(
        "login:\n  service: users ", f"login:\n  service: {login} "
    )
    assert f"\n  service: {login} " in text
    path = directory / "gateway.yaml"
    path.write_text(text)
    return path


def test_a_service_that_hangs_stops_no_start_and_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        config = with_a_hanging_service(tmp_path, hanging.getsockname()[1])
        stack = Stack(tmp_path / "var", {"GATEWAY_CONFIG": str(config)})
        try:
            done = stack.manage("up", "-d")
            assert "Gatehouse is ready." in done.stdout
            assert "reports: did not respond in time" in done.stderr
            assert "reports: did not respond in time" in stack.manage("status").stdout
            merged = stack.ask("GET", "/openapi.json").json
            assert merged["paths"]["/api/orders"]["get"]["responses"]["200"]
            assert merged["info"]["x-incomplete"] == {"reports": "it has not responded yet"}
        finally:
            stack.down()


@pytest.mark.long
def test_up_does_not_stop_a_gateway_that_is_not_ready(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        config = with_a_hanging_service(tmp_path, hanging.getsockname()[1], login="reports")
        stack = Stack(tmp_path / "var", {"GATEWAY_CONFIG": str(config)})
        try:
            done = stack.manage("up", "-d", check=False)
            assert done.returncode == 1
            # By now it may be ejected, with that as the reason.
            assert re.search("login: .*did not respond in time", done.stderr)
            assert "ready." not in done.stdout
            assert stack.ask("GET", "/healthz").status == 200
            assert stack.ask("GET", "/readyz").status == 503
        finally:
            stack.down()


def test_ended_sessions_stay_ended_after_a_worker_is_killed(stack: Stack) -> None:
    token = stack.login("user", "u")
    assert stack.ask("POST", "/api/logout", token=token).status == 204
    for worker in children(stack.master("gateway")):
        os.kill(worker, signal.SIGKILL)

    def status() -> int:
        try:
            return stack.ask("GET", "/api/orders", token=token).status
        except OSError:
            return 0

    assert until(status, 60, "the gateway responds again") == 401


def test_a_running_project_is_migrated_before_new_workers_start(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var")

    def migrations() -> int:
        with contextlib.closing(sqlite3.connect(stack.var / "orders" / "orders.sqlite3")) as database:
            return int(database.execute("SELECT count(*) FROM django_migrations WHERE app = 'orders'").fetchone()[0])

    try:
        stack.manage("up", "-d", "orders")
        all_of_them = migrations()
        for command in ("reload", "orders"), ("up", "-d", "orders"):
            stack.manage("orders", "migrate", "orders", "zero")
            assert migrations() == 0
            stack.manage(*command)
            assert migrations() == all_of_them > 0
            until(lambda: stack.ask("GET", "/healthz", to="orders").status == 200, 60, "orders responds")
    finally:
        stack.manage("down", "orders")


# A background process of a shell ignores SIGINT, and its children inherit that.
INTERRUPTIBLE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_ctrl_c_stops_an_up_in_the_foreground(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var")
    command = [sys.executable, "-c", INTERRUPTIBLE, ROOT / "manage_all.sh", "up", "users", "orders"]
    with subprocess.Popen(command, env=stack.environ, start_new_session=True, stdout=subprocess.DEVNULL) as up:
        try:
            until(lambda: stack.is_ready("users") and stack.is_ready("orders"), 120, "ready")
            os.killpg(up.pid, signal.SIGINT)
            assert up.wait(60) == 130
        finally:
            stack.down()
    assert stack.processes() == []
