"""`manage_all.sh`: what it takes, and what it says that it did."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.system.stack import ROOT, Stack


def test_a_bad_option_is_named_before_anything_is_installed(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var", {"GATEHOUSE_VENV": str(tmp_path / "venv")})
    for command in (["bench", "--nope"], ["up", "--nope"]):
        done = stack.manage(*command, check=False)
        assert done.returncode == 1
        assert f"unknown option '--nope' of {command[0]}" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("bind", ["127.0.0.2", "::1", "[::1]", "0.0.0.0"])
def test_what_listens_on_another_address_is_ready_and_says_what_is_in_force(tmp_path: Path, bind: str) -> None:
    stack = Stack(tmp_path / "var", {"ORDERS_BIND": bind})
    try:
        done = stack.manage("up", "--detach", "orders")
        shown = {"127.0.0.2": "127.0.0.2", "0.0.0.0": "127.0.0.1"}.get(bind, "[::1]")
        assert f"orders is up at http://{shown}:{stack.ports['orders']}" in done.stderr
        assert stack.manage("status", "orders").stdout.split()[:2] == ["orders", "ready"]
        port, stack.environ["ORDERS_PORT"] = stack.environ["ORDERS_PORT"], "9"
        moved = stack.manage("up", "-d", "orders", check=False)
        assert moved.returncode == 1
        assert f"orders is running at http://{shown}:{port}, not at http://{shown}:9" in moved.stderr
        assert "orders is stopped" in stack.manage("down", "orders").stderr
        assert "orders was not running" in stack.manage("down", "orders").stderr
    finally:
        stack.manage("down", "orders")


def test_a_reload_says_what_is_in_force(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("version: 1\nservices: {}\nroutes: []\n")
    stack = Stack(tmp_path / "var", {"GATEWAY_CONFIG": str(config)})
    try:
        stack.manage("up", "-d", "gateway")
        done = stack.manage("reload", "gateway")
        assert "gateway: new workers serve 0 routes of gateway.yaml (sha256 " in done.stderr
        config.write_text("version: 1\nservices: {}\nroutes: 7\n")
        faulty = stack.manage("reload", "gateway", check=False)
        assert faulty.returncode == 1
        assert "gateway.yaml:3:9: got 7; expected a list" in faulty.stderr
    finally:
        stack.manage("down", "gateway")


def test_lines_of_env_may_have_quotes_and_paths_are_from_where_they_are_written(tmp_path: Path) -> None:
    shutil.copy(ROOT / "manage_all.sh", tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environ = Stack(tmp_path / "var").environ
    del environ["GATEHOUSE_VAR"]

    def status(line: str, **more: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / ".env").write_text(line)
        command = [tmp_path / "manage_all.sh", "status"]
        return subprocess.run(
            command, env=environ | more, cwd=elsewhere, capture_output=True, text=True, check=False, timeout=60
        )

    for line, name in [
        ('GATEHOUSE_VAR="two words"', "two words"),
        ("export GATEHOUSE_VAR='single'  # said\n", "single"),
        ("# x\n\nGATEHOUSE_VAR=plain # said\r\n", "plain"),
    ]:
        assert status(line).returncode == 0
        assert (tmp_path / name).is_dir()
    assert status("GATEHOUSE_VAR=unused", GATEHOUSE_VAR="typed").returncode == 0
    assert (elsewhere / "typed").is_dir()
    assert not (tmp_path / "unused").exists()
    refused = status("A=1\nSECRET hunter2\n")
    assert (refused.returncode, refused.stderr) == (1, "manage_all.sh: .env, line 2: expected NAME=value\n")
