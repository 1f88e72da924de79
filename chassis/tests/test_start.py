"""`manage.py start`, as a container runs it: with a database that responds, and with one that comes later."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.ports import free_port
from tests.postgres import Postgres, programs
from tests.processes import ROOT, ask, measured
from tests.waiting import DEADLINE, wait_until

SETTINGS = """
import os
from shop.settings import *
from chassis import database_settings
DATABASES = {"default": database_settings.postgresql(os.environ["SHOP_DATABASE_URL"])}
"""
# What the container runs.
COMMAND = [sys.executable, "-c", "print('serving')"]


def start(folder: Path, *options: str, settings: str = "shop.settings", **environ: str) -> "subprocess.Popen[str]":
    paths = [str(folder), str(ROOT / "chassis" / "tests"), str(ROOT / "chassis" / "src")]
    own = {"DJANGO_SETTINGS_MODULE": settings, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, "-m", "django", "start", *options, *COMMAND], cwd=folder, text=True,
        env={**os.environ, **measured(), **own, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_with_a_database_the_command_runs_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "--bind", "127.0.0.1:1")
    assert process.communicate(timeout=DEADLINE) == ("serving\n", "")
    assert process.returncode == 0


def test_an_address_without_a_port_is_an_error(tmp_path: Path) -> None:
    process = start(tmp_path, "--bind", "localhost")
    assert "expected ADDRESS:PORT, got 'localhost'" in process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == 2


@pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")
def test_without_a_database_probes_respond_until_it_is_there_and_migrated(tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(SETTINGS)
    port = free_port()
    with Postgres() as server:
        url = server.database("shop")
        server.stop()
        options = "--bind", f"127.0.0.1:{port}", "--live", "/healthz"
        process = start(tmp_path, *options, settings="later", SHOP_DATABASE_URL=url)
        try:
            wait_until(lambda: ask(port, "/livez")[0] == 200, "it responds")
            assert ask(port, "/healthz")[0] == 200
            status, headers, body = ask(port, "/books?page=2", "POST")
            assert (status, headers["Retry-After"], headers["Content-Type"]) == (503, "1", "application/problem+json")
            problem = json.loads(body)
            assert (problem["code"], problem["instance"]) == ("database_unavailable", "/books")
            assert problem["origin"] == "shop"
            assert ask(port, "/readyz", "HEAD")[2] == b""
            server.serve()
            output, errors = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
        assert (process.returncode, output) == (0, "serving\n")
        (line,) = errors.splitlines()
        assert json.loads(line)["message"].startswith("Waiting for the database: ")
        again = start(tmp_path, *options, settings="later", SHOP_DATABASE_URL=url, GATEHOUSE_MIGRATE="0")
        assert again.communicate(timeout=DEADLINE) == ("serving\n", "")


@pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")
def test_a_migration_that_fails_ends_the_start_with_one_line_of_json(tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(SETTINGS + 'INSTALLED_APPS += ["broken"]\n')
    (tmp_path / "broken" / "migrations").mkdir(parents=True)
    (tmp_path / "broken" / "__init__.py").touch()
    (tmp_path / "broken" / "migrations" / "__init__.py").touch()
    (tmp_path / "broken" / "migrations" / "0001_initial.py").write_text(
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
        "    operations = [migrations.RunSQL('SELECT nothing')]\n"
    )
    with Postgres() as server:
        url = server.database("shop")
        process = start(tmp_path, "--bind", "127.0.0.1:1", settings="later", SHOP_DATABASE_URL=url)
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output) == (1, "")
    (line,) = errors.splitlines()
    assert json.loads(line)["message"] == "The migrations failed"
    assert "nothing" in json.loads(line)["exc_info"]


def test_a_worker_that_serves_keeps_what_is_loaded_out_of_garbage_collection() -> None:
    source = """
import gc
from types import SimpleNamespace
from chassis.gunicorn import listen
listen(SimpleNamespace(sockets=[]))
print(gc.get_freeze_count() > 1000)
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "chassis" / "src")}
    done = subprocess.run([sys.executable, "-c", source], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
