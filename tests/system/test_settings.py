"""A start with a bad setting ends with what was expected, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.stack import ROOT

COMMANDS = {
    "manage.py": ("manage.py", "migrate"),
    "gunicorn": ("-m", "gunicorn", "-c", "gunicorn.conf.py", "{project}_project.wsgi"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("project", "name", "value", "said"),
    [
        ("users", "USERS_WORKERS", "x", "USERS_WORKERS: Input should be a valid integer"),
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
            "LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', got 'loud'\n",
        ),
        ("users", "GATEHOUSE_ENV", "production", "USERS_SECRET_KEY: expected a secret of your own in production"),
        *(
            (project, "GATEHOUSE_VAR", "{file}", "GATEHOUSE_VAR: expected a directory")
            for project in ("users", "orders", "gateway")
        ),
    ],
)
def test_a_bad_setting_ends_the_start_with_its_name_alone(
    tmp_path: Path, command: str, project: str, name: str, value: str, said: str
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
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1
    assert "hunter2" not in ended.stderr
    assert not (tmp_path / "var").exists()
