"""Replicas that start at once, and a database that starts after them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres import Postgres, programs

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


def migrate(project: str, url: str, var: Path, *options: str) -> "subprocess.Popen[str]":
    environ = os.environ | {"DATABASE_URL": url, "GATEHOUSE_VAR": str(var)}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0", *options]
    return subprocess.Popen(command, cwd=ROOT / project, env=environ, stderr=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def test_replicas_that_migrate_at_once_all_succeed(server, tmp_path):
    url = server.database("together")
    projects = ["gateway_project", "users_project", "orders_project"] * 2
    running = [migrate(project, url, tmp_path / str(number)) for number, project in enumerate(projects)]
    assert [end(process) for process in running] == [(0, "")] * len(projects)


def test_a_migration_waits_for_a_database_that_cannot_be_reached_and_logs_it_once(server, tmp_path):
    url = server.database("later")
    server.stop()
    process = migrate("orders_project", url, tmp_path, "--wait")
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Waiting for the database: connection")
    finally:
        server.serve()
    assert end(process)[0] == 0
    assert end(migrate("orders_project", url, tmp_path, "--check")) == (0, "")


def test_without_wait_a_database_that_cannot_be_reached_is_an_error(tmp_path):
    status, errors = end(migrate("orders_project", "postgres://user@%2Fnowhere/nothing", tmp_path))
    assert status == 1
    assert '"/nowhere/' in errors
    assert "Traceback" not in errors
