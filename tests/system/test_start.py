"""`container/start` while PostgreSQL is down: 503 until it is back, and then the project, by itself."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.ports import free_port
from tests.postgres import Postgres, programs
from tests.processes import ROOT, ask
from tests.waiting import DEADLINE, wait_until, whole_lines

pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")


@contextmanager
def started(project: str, environ: dict[str, str], log: Path) -> Iterator[int]:
    port, name = free_port(), project.upper()
    own = {f"{name}_PORT": str(port), f"{name}_BIND": "127.0.0.1", f"{name}_WORKERS": "1"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["container/start"], cwd=ROOT / f"{project}_project", env={**os.environ, **own, **environ, "PATH": path},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE)


@pytest.mark.parametrize(("project", "migrate"), [("gateway", "1"), ("users", "1"), ("orders", "1"), ("orders", "0")])
def test_a_project_whose_database_is_down_is_503_and_starts_when_it_is_back(
    project: str, migrate: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with Postgres() as server:
        environ = {
            f"{project.upper()}_DATABASE_URL": server.database(project),
            "GATEHOUSE_MIGRATE": migrate,
            "GATEHOUSE_VAR": str(tmp_path),
        }
        if migrate == "0":
            command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
            subprocess.run(command, cwd=ROOT / f"{project}_project", env={**os.environ, **environ}, check=True)
        server.stop()
        with started(project, environ, log) as port:
            wait_until(lambda: ask(port, "/livez")[0] == 200, "it lives")
            for path in ("/readyz", "/api/orders"):
                status, headers, body = ask(port, path)
                assert (status, headers["Retry-After"]) == (503, "1")
                assert headers["Content-Type"] == "application/problem+json"
                assert json.loads(body)["code"] == "database_unavailable"
            assert ask(port, "/readyz", "HEAD")[2] == b""
            server.serve()
            wait_until(lambda: b'"parts"' in ask(port, "/readyz")[2] or ask(port, "/readyz")[0] == 200, "it is ready")
            wait_until(lambda: ask(port, "/livez")[0] == 200, "it lives")
            assert project != "gateway" or b'"sessions": "ok"' in ask(port, "/readyz")[2]
        assert all(json.loads(line) for line in whole_lines(log))


def test_replicas_of_users_that_start_at_once_create_the_demo_users(tmp_path: Path) -> None:
    with Postgres() as server:
        environ = {"USERS_DATABASE_URL": server.database("users"), "GATEHOUSE_VAR": str(tmp_path)}
        logs = [tmp_path / f"log{number}" for number in range(3)]
        with ExitStack() as stack:
            ports = [stack.enter_context(started("users", environ, log)) for log in logs]
            for port in ports:
                wait_until(lambda port=port: ask(port, "/readyz")[0] == 200, "it is ready")
        command = [sys.executable, "manage.py", "export_users"]
        exported = subprocess.run(
            command, cwd=ROOT / "users_project", env={**os.environ, **environ}, check=True, capture_output=True
        )
        assert [json.loads(line)["username"] for line in exported.stdout.splitlines()] == ["admin", "user"]
        lines = [json.loads(line)["message"] for log in logs for line in whole_lines(log)]
        assert len([line for line in lines if line.startswith("Created the demo users")]) == 1
