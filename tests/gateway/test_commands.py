"""`manage.py check`, `routes`, `runserver`."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from tests.conformance.gateways import PROJECT, migrated_state
from tests.ports import free_port

from gateway import configuration

FAULTY = """\
version: 1
colour: red
services:
  users: {url: ftp://x}
routes:
  - {path: /api/x, service: orders, allow: public}
"""


@pytest.fixture
def faulty(tmp_path: Path, settings: Any) -> Path:
    """A gateway.yaml with three faults."""
    path = tmp_path / "faulty.yaml"
    path.write_text(FAULTY)
    settings.GATEWAY_CONFIG = path
    return path


def test_check_reports_every_fault_of_gateway_yaml(faulty: Path) -> None:
    with pytest.raises(CommandError) as failed:
        call_command("check")
    places = [line.strip().split(":")[1:3] for line in str(failed.value).splitlines() if "faulty.yaml:" in line]
    assert places == [["2", "1"], ["4", "16"], ["6", "29"]]
    assert str(failed.value).splitlines()[-1] == "3 faults"


def test_check_prints_only_the_faults_and_one_count(tmp_path: Path) -> None:
    path = tmp_path / "faulty.yaml"
    path.write_text(FAULTY)
    environ = os.environ | {"GATEHOUSE_VAR": str(tmp_path / "var"), "GATEWAY_CONFIG": str(path)}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=PROJECT, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "3 faults"
    assert len(done.stderr.splitlines()) == 4
    assert done.stderr.startswith(f"{path}:2:1: ")
    assert "issue" not in done.stderr


@pytest.mark.django_db
def test_other_commands_fail_with_all_faults_and_their_count(faulty: Path) -> None:
    with pytest.raises(SystemCheckError) as failed:
        call_command("migrate", "--plan", stdout=StringIO(), skip_checks=False)
    assert "faulty.yaml:6:29: " in str(failed.value)
    assert str(failed.value).rstrip().splitlines()[-1] == "\t3 faults"


def test_check_only_warns_of_a_role_that_no_user_has(tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text(
        "version: 1\nservices: {a: {url: 'http://a'}}\nroutes:\n  - {path: /x, service: a, allow: [admn]}\n"
    )
    settings.GATEWAY_CONFIG = path
    out, err = StringIO(), StringIO()
    call_command("check", stdout=out, stderr=err)
    assert "(gateway.W001)" in err.getvalue()
    assert "roles.yaml:4:36: unknown role 'admn'. The roles are admin, default. Did you mean admin?" in (err.getvalue())
    assert "gateway.yaml has 1 route, and 1 warning, see above." in out.getvalue()


def test_check_reports_faults_in_the_order_of_lines(faulty: Path) -> None:
    faulty.write_text("version: 1\nservices: {}\nroutes: []\n" + "".join(f"odd{line}: 1\n" for line in range(4, 13)))
    with pytest.raises(CommandError) as failed:
        call_command("check")
    assert re.findall(r"faulty\.yaml:(\d+):", str(failed.value)) == [str(line) for line in range(4, 13)]


CHECK = [sys.executable, "manage.py", "check"]
RUNSERVER = [sys.executable, "manage.py", "runserver", "--noreload", "0"]
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "gateway_project.asgi"]
WORKERS, URL, DATABASE = (
    ("GATEWAY_WORKERS", "many"),
    ("USERS_URL", "ftp://x"),
    ("DATABASE_URL", "mysql://u:hunter2@h/x"),
)


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        (CHECK, WORKERS),
        (RUNSERVER, URL),
        (GUNICORN, URL),
        (GUNICORN, DATABASE),
    ],
)
def test_an_invalid_setting_is_reported_without_a_traceback(
    tmp_path: Path, command: list[str], setting: tuple[str, str]
) -> None:
    name, value = setting
    environ = os.environ | {"GATEHOUSE_VAR": str(tmp_path), name: value}
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False, timeout=60)
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    assert ("expected" if name == "USERS_URL" else name) in shown
    assert "Traceback" not in shown
    assert "hunter2" not in shown


def test_check_finds_no_fault_in_the_shipped_gateway_yaml() -> None:
    out = StringIO()
    call_command("check", stdout=out)
    assert "no issues" in out.getvalue()
    assert f"gateway.yaml has {len(configuration.load_config().routes)} routes, and no faults." in out.getvalue()


def test_routes_prints_the_table() -> None:
    out = StringIO()
    call_command("routes", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["PATH", "METHODS", "SERVICE", "ALLOW", "LIMIT", "TIMEOUT", "BODY"]
    row = next(line for line in lines if line.startswith("/api/orders "))
    assert row.split() == ["/api/orders", "GET,POST", "orders", "authenticated", "120/minute", "10s", "1,048,576"]


def test_routes_reports_the_faults_of_gateway_yaml(faulty: Path) -> None:
    with pytest.raises(CommandError, match="colour"):
        call_command("routes", stdout=StringIO())


def test_runserver_checks_the_raw_path(tmp_path: Path) -> None:
    port = free_port()
    environ = os.environ | {"GATEHOUSE_VAR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    command = [*RUNSERVER[:-1], str(port)]
    shutil.copytree(migrated_state(), tmp_path / "gateway")
    with subprocess.Popen(
        command, cwd=PROJECT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    connection.request("GET", "/api/orders%2F1")
                    reply = connection.getresponse()
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            problem = json.loads(reply.read())
            connection.close()
        finally:
            run.terminate()
    assert reply.status == 400, problem
    # Without the raw path, runserver would serve /api/orders/1, which requires a login.
    assert problem["code"] == "bad_request"
