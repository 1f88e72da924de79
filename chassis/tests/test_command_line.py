"""manage.py of a project, as its own process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.processes import ROOT, measured

SETTINGS = """
from shop.settings import *
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}}
"""


def manage(folder: Path, *arguments: str, settings: str = "own") -> "subprocess.CompletedProcess[str]":
    paths = [str(folder), str(ROOT / "chassis" / "tests"), str(ROOT / "chassis" / "src")]
    return subprocess.run(
        [sys.executable, "-c", f"from chassis.command_line import main; main({settings!r})", *arguments],
        cwd=folder, env={**os.environ, **measured(), "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    (tmp_path / "own.py").write_text(SETTINGS)
    return tmp_path


def test_a_command_runs_with_the_settings_of_the_project(folder: Path) -> None:
    done = manage(folder, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


def test_a_database_that_cannot_be_read_is_a_message_without_a_traceback(folder: Path) -> None:
    (folder / "shop.sqlite3").write_text("no database" * 100)
    done = manage(folder, "migrate")
    assert (done.returncode, done.stderr) == (1, "file is not a database\n")
    assert "Traceback" in manage(folder, "migrate", "--traceback").stderr


def test_a_project_in_sqlite_does_not_import_the_driver_of_postgresql(folder: Path) -> None:
    chosen = 'DATABASES = __import__("chassis.database_settings").database_settings.default({}, DATABASES["default"])'
    for url, is_imported in ((None, False), ("postgres://user@127.0.0.1:1/shop", True)):
        (folder / "own.py").write_text(f"{SETTINGS}\n{chosen.format(url and repr(url))}\n")
        shown = "import sys, rest_framework.compat; print(bool(sys.modules.get('psycopg')))"
        assert manage(folder, "shell", "--no-imports", "-c", shown).stdout == f"{is_imported}\n"


def test_a_bad_setting_is_a_message_without_a_traceback(folder: Path) -> None:
    (folder / "own.py").write_text("from django.core.exceptions import ImproperlyConfigured as Bad\nraise Bad('BAD')")
    done = manage(folder, "check")
    assert (done.returncode, done.stderr) == (1, "BAD\n")
