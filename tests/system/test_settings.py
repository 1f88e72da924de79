"""A project with a bad setting does not start, and prints one line that names the setting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.stack import ROOT, Stack

COMMANDS = {
    "manage.py": ("manage.py", "migrate"),
    "gunicorn": ("-m", "gunicorn", "-c", "gunicorn.conf.py", "{project}_project.wsgi"),
}


SECRET = "a-secret-of-thirty-two-characters-or-more"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("project", "name", "value", "message"),
    [
        (
            "users",
            "USERS_WORKERS",
            "x",
            "USERS_WORKERS: input should be a valid integer, unable to parse string as an integer, got 'x'\n",
        ),
        (
            "orders",
            "DATABASE_URL",
            "mysql://hunter2@x/y",
            "DATABASE_URL: expected postgres://user:password@host:5432/name\n",
        ),
        (
            "gateway",
            "LOG_LEVEL",
            "loud",
            "LOG_LEVEL: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', got 'loud'\n",
        ),
        ("users", "GATEHOUSE_ENV", "production", "USERS_SECRET_KEY: expected a secret of your own in production"),
        *(
            (project, "GATEHOUSE_VAR", "{file}", "GATEHOUSE_VAR: expected a directory")
            for project in ("users", "orders", "gateway")
        ),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_line(
    tmp_path: Path, command: str, project: str, name: str, value: str, message: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    environment = os.environ | {"GATEHOUSE_VAR": str(tmp_path / "var")} | {name: value.format(file=file)}
    ended = subprocess.run(
        [sys.executable, *(part.format(project=project) for part in COMMANDS[command])],
        cwd=ROOT / f"{project}_project",
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(message)
    assert ended.stderr.count("\n") == 1
    assert "hunter2" not in ended.stderr
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("project", ["gateway", "users", "orders"])
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("192.0.2.1", "{name}: expected an address of this machine, got '192.0.2.1' (Cannot assign requested address)"),
        (
            "127.0.0.1:8001",
            "{name}: expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1, without a port, got '127.0.0.1:8001'",
        ),
    ],
)
def test_the_error_of_an_unusable_address_names_its_variable(
    tmp_path: Path, project: str, address: str, message: str
) -> None:
    name = f"{project.upper()}_BIND"
    ended = subprocess.run(
        [sys.executable, *(part.format(project=project) for part in COMMANDS["gunicorn"])],
        cwd=ROOT / f"{project}_project",
        env=os.environ | {"GATEHOUSE_VAR": str(tmp_path), name: address},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (1, message.format(name=name) + "\n")


@pytest.mark.parametrize("project", ["gateway", "users", "orders"])
def test_production_rejects_a_secret_that_two_projects_share(tmp_path: Path, project: str) -> None:
    names = [f"{each.upper()}_SECRET_KEY" for each in ("gateway", "users", "orders")]
    own = f"{project.upper()}_SECRET_KEY"
    environment = os.environ | {"GATEHOUSE_VAR": str(tmp_path), "GATEHOUSE_ENV": "production"}

    def start(secrets: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", "check"],
            cwd=ROOT / f"{project}_project",
            env=environment | secrets,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    refused = start(dict.fromkeys(names, SECRET))
    other = min(name for name in names if name != own)
    assert refused.returncode == 1
    assert refused.stderr == f"{own}: expected another secret than that of {other}: in production each has its own\n"
    assert SECRET not in refused.stderr
    assert start({name: SECRET + name for name in names}).returncode == 0


def test_a_users_service_with_another_issuer_is_502_and_counts_no_failure(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var", {"TOKEN_ISSUER": "other"})
    try:
        stack.manage("up", "-d", "users")
        del stack.environ["TOKEN_ISSUER"]
        stack.manage("up", "-d", "gateway")
        for _ in range(8):
            reply = stack.ask("POST", "/api/login", {"username": "user", "password": "u"})
            assert (reply.status, reply.json.get("service")) == (502, "users"), reply.text
            assert "passport" in reply.json["detail"]
        errors = [line["message"] for line in stack.logs("gateway") if line["level"] == "ERROR"]
        assert any("TOKEN_ISSUER" in message for message in errors)
        stack.manage("down", "users")
        stack.manage("up", "-d", "users")
        # None of these counted as a failed login.
        stack.login("user", "u")
    finally:
        stack.down()
