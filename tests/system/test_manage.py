"""`manage_all.sh`: its options, and its messages about what it did."""

import os
import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.system.stack import ROOT, Stack, until


def test_a_bad_option_is_named_before_anything_is_installed(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var", {"GATEHOUSE_VENV": str(tmp_path / "venv")})
    for command in (["bench", "--nope"], ["up", "--nope"]):
        done = stack.manage(*command, check=False)
        assert done.returncode == 1
        assert f"unknown option '--nope' of {command[0]}" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_bench_help_installs_nothing_and_lists_every_option(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var", {"GATEHOUSE_VENV": str(tmp_path / "venv")})
    done = stack.manage("bench", "--orders", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "venv").exists()
    parsed = re.findall(r'"(--[a-z-]+)"', (ROOT / "tests" / "bench" / "__main__.py").read_text())
    assert set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE)) == set(parsed)
    # The script accepts each of them: only the last one, which it does not know, stops it.
    values = [f"{option}=1" if re.search(rf"{option} [NAP]", done.stdout) else option for option in parsed]
    assert "unknown option '--nope'" in stack.manage("bench", *values, "--nope", check=False).stderr


@pytest.mark.parametrize("bind", ["[::1]", "0.0.0.0"])
def test_a_service_on_another_address_is_ready_and_keeps_it_until_it_stops(tmp_path: Path, bind: str) -> None:
    stack = Stack(tmp_path / "var", {"ORDERS_BIND": bind})
    try:
        done = stack.manage("up", "--detach", "orders")
        shown = "127.0.0.1" if bind == "0.0.0.0" else "[::1]"
        assert f"orders is up at http://{shown}:{stack.ports['orders']}" in done.stderr
        assert stack.manage("status", "orders").stdout.split()[:2] == ["orders", "ready"]
        port, stack.environ["ORDERS_PORT"] = stack.environ["ORDERS_PORT"], "9"
        moved = stack.manage("up", "-d", "orders", check=False)
        assert moved.returncode == 1
        assert f"orders is running at http://{shown}:{port}, not at http://{shown}:9" in moved.stderr
        status = stack.manage("status", "orders").stdout.split()
        assert (status[:2], status[-1]) == (["orders", "ready"], f"http://{shown}:{port}")
        assert "orders is stopped" in stack.manage("down", "orders").stderr
        assert "orders was not running" in stack.manage("down", "orders").stderr
        stopped = stack.manage("status", "orders", check=False)
        assert (stopped.returncode, stopped.stdout.split()) == (1, ["orders", "stopped"])
    finally:
        stack.manage("down", "orders")


def test_a_reload_names_the_file_that_is_in_force(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("version: 1\nservices: {}\nroutes: []\n")
    stack = Stack(tmp_path / "var", {"GATEWAY_CONFIG": str(config)})
    try:
        stack.manage("up", "-d", "gateway")
        done = stack.manage("reload", "gateway")
        assert "gateway: new workers serve 0 routes of gateway.yaml (sha256 " in done.stderr
        assert "in force" not in stack.manage("gateway", "explain", "GET", "/x").stderr
        config.write_text("version: 1\nservices: {}\nroutes: [ ]\n")
        assert "gateway.yaml is not in force as it is" in stack.manage("gateway", "explain", "GET", "/x").stderr
        config.write_text("version: 1\nservices: {}\nroutes: 7\n")
        faulty = stack.manage("reload", "gateway", check=False)
        assert faulty.returncode == 1
        assert "gateway.yaml:3:9: got 7; expected a list" in faulty.stderr
        assert "nothing was reloaded: correct gateway.yaml first" in faulty.stderr
        own, stack.environ["GATEWAY_CONFIG"] = str(config), str(tmp_path / "other.yaml")
        for command in ("up", "-d", "gateway"), ("reload", "gateway"):
            other = stack.manage(*command, check=False)
            assert other.returncode == 1
            assert f"running with {own}, not with {tmp_path}/other.yaml; stop it with" in other.stderr
    finally:
        stack.manage("down", "gateway")


def test_a_reload_of_all_changes_nothing_if_gateway_yaml_has_a_fault(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("version: 1\nservices: {}\nroutes: []\n")
    stack = Stack(tmp_path / "var", {"GATEWAY_CONFIG": str(config)})
    try:
        stack.manage("up", "-d", "orders", "gateway")
        config.write_text("version: 1\nservices: {}\nroutes: 7\n")
        logs = [stack.var / "logs" / f"{name}.log" for name in ("orders", "gateway")]
        before = [path.read_text() for path in logs]
        refused = stack.manage("reload", check=False)
        assert (refused.returncode, "is starting new workers" in refused.stderr) == (1, False)
        stack.manage("status", "orders")
        assert [path.read_text().replace(text, "").count("eload") for path, text in zip(logs, before, strict=True)] == [
            0, 0
        ]  # fmt: skip
    finally:
        stack.manage("down", "orders", "gateway")


SLOW_ROUTE = """\
version: 1
services: {{slow: {{url: "http://127.0.0.1:{port}"}}}}
routes: [{{path: /slow, service: slow, allow: public, timeouts: {{total: 60s}}}}]
"""


@pytest.mark.long
def test_down_waits_for_a_request_within_the_longest_total(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, ThreadPoolExecutor() as threads:
        config = tmp_path / "gateway.yaml"
        config.write_text(SLOW_ROUTE.format(port=service.getsockname()[1]))
        stack = Stack(tmp_path / "var", {"GATEWAY_CONFIG": str(config)})
        try:
            stack.manage("up", "-d", "gateway")
            master = stack.master("gateway")
            reply = threads.submit(stack.ask, "GET", "/slow")
            connection, _ = service.accept()
            down = threads.submit(stack.manage, "down", "gateway")
            # Without the route's `total` the gateway is killed after 25 s.
            began = time.monotonic()
            until(lambda: time.monotonic() > began + 30 or down.done(), 40, "30 s")
            assert Path(f"/proc/{master}").exists()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
            assert (reply.result().status, reply.result().text) == (200, "done")
            assert down.result().stderr == "gateway is stopped\n"
        finally:
            stack.manage("down", "gateway")


def test_env_lines_may_have_quotes_and_relative_paths(tmp_path: Path) -> None:
    shutil.copy(ROOT / "manage_all.sh", tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environ = Stack(tmp_path / "var").environ
    del environ["GATEHOUSE_VAR"]

    def manage(line: str, **more: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / ".env").write_text(line)
        command = [tmp_path / "manage_all.sh", "help"]
        return subprocess.run(
            command, env=environ | more, cwd=elsewhere, capture_output=True, text=True, check=False, timeout=60
        )

    for line, name in [
        ('GATEHOUSE_VAR="two words"', "two words"),
        ("export GATEHOUSE_VAR='single'  # a comment\n", "single"),
        ("# x\n\nGATEHOUSE_VAR=plain # a comment\r\n", "plain"),
    ]:
        assert manage(line).returncode == 0
        assert (tmp_path / name).is_dir()
    assert manage("GATEHOUSE_VAR=unused", GATEHOUSE_VAR="typed").returncode == 0
    assert (elsewhere / "typed").is_dir()
    assert not (tmp_path / "unused").exists()
    refused = manage("A=1\nSECRET hunter2\n")
    assert (refused.returncode, refused.stderr) == (1, "manage_all.sh: .env, line 2: expected NAME=value\n")


@pytest.mark.parametrize(
    ("here", "chosen"),
    [
        ({"python3": "50 3.11.7 False"}, "python3 (3.11.7)"),
        ({"python3": "50 3.11.7 False", "python3.13": "40 3.13.1 True"}, "python3.13 (3.13.1)"),
        ({"python3": "50 3.11.7 True", "python3.13": "48 3.13.1 True"}, "python3 (3.11.7)"),
        ({"python3": "50 3.11.7 True", "python3.12": "", "python3.14": "60 3.14.0 True"}, "python3 (3.11.7)"),
        ({"python3": "", "python3.12": "50 3.12.2 True"}, "python3.12 (3.12.2)"),
    ],
)
def test_a_new_environment_gets_the_fastest_python(tmp_path: Path, here: dict[str, str], chosen: str) -> None:
    # Each prints the result of the measurement, faster than any real Python, and creates no environment.
    for name, result in here.items():
        (tmp_path / name).write_text(f'#!/bin/sh\n[ "$2" = -c ] && [ -n "{result}" ] && echo "{result}"\n')
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    stack = Stack(tmp_path / "var", {"GATEHOUSE_VENV": str(tmp_path / "venv"), "PATH": path})
    stack.environ.pop("PYTHON", None)
    done = stack.manage("up", check=False)
    assert f"Creating {tmp_path / 'venv'} with {chosen}" in done.stderr
    assert ("PGO" in done.stderr) == here[chosen.split(maxsplit=1)[0]].endswith("False")


def test_a_named_python_is_taken_and_an_unsuitable_one_is_an_error(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text('#!/bin/sh\n[ "$2" = -c ] && echo "99999 3.11.0 True"\n')
    slow.chmod(0o755)
    stack = Stack(tmp_path / "var", {"GATEHOUSE_VENV": str(tmp_path / "venv"), "PYTHON": str(slow)})
    assert f"with {slow} (3.11.0)" in stack.manage("up", check=False).stderr
    stack.environ["PYTHON"] = "/bin/false"
    done = stack.manage("up", check=False)
    assert done.returncode == 1
    assert "no Python 3.11 or later with venv as '/bin/false'" in done.stderr
