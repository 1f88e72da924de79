"""The three as containers, as compose.yaml starts them. Needs an engine with Compose."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Containers:
    """One project of Compose, under a name and a port of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.environ = os.environ | {
            "COMPOSE_PROJECT_NAME": f"gatehouse-test-{os.getpid()}",
            "GATEWAY_PORT": str(self.port),
            "GATEHOUSE_SUBNET": "172.30.81.0/24",
        }

    def compose(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=ROOT, env=self.environ, check=False, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, body: object = None, token: str = "") -> tuple[int, Any]:
        """Send a request to the gateway; return the status and the JSON of its response."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def token(self, username: str, password: str) -> str:
        status, answer = self.ask("/api/login", {"username": username, "password": password})
        assert status == 200, answer
        return str(answer["access_token"])

    def is_ready(self) -> bool:
        try:
            status, answer = self.ask("/readyz")
        except OSError:
            return False
        return status == 200 and all("ok" in str(each) for each in answer["services"].values())


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    running = Containers()
    try:
        running.compose("up", "--build", "--detach", "--wait", "--quiet-pull")
        wait_until(running.is_ready, "the services are ready")
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout", "2", check=False)


def test_a_walk_from_signing_in_to_an_order(containers):
    token = containers.token("user", "u")
    status, order = containers.ask("/api/orders", {"item": "book", "address": "Main street 1"}, token)
    assert (status, order["item"]) == (201, "book")
    assert [each["item"] for each in containers.ask("/api/orders", token=token)[1]["results"]] == ["book"]
    assert containers.ask("/api/users", token=token)[0] == 403
    assert containers.ask("/api/users", token=containers.token("admin", "a"))[0] == 200


def test_only_the_gateway_publishes_a_port_and_the_services_reach_nothing(containers):
    published = {
        each["Service"]: [port["PublishedPort"] for port in each["Publishers"] if port["PublishedPort"]]
        for each in map(json.loads, containers.compose("ps", "--format", "json").splitlines())
    }
    assert published == {"gateway": [containers.port], "users": [], "orders": []}
    program = "import socket; socket.create_connection(('1.1.1.1', 53), 2)"
    shown = containers.compose("exec", "-T", "orders", "sh", "-c", f'python -c "{program}" 2>&1; echo $?')
    assert shown.endswith("\n1\n")


def test_a_container_is_not_root_and_cannot_change_its_files(containers):
    for name in ("gateway", "users", "orders"):
        shown = containers.compose("exec", "-T", name, "sh", "-c", "id -u; touch /srv/app/x 2>&1; ls /opt/venv/bin")
        assert shown.startswith("10001\n")
        assert "Read-only file system" in shown
        assert "gunicorn" in shown
        assert "pip" not in shown


@pytest.mark.parametrize("name", ["users", "orders", "gateway"])
def test_a_container_that_is_killed_comes_back_with_its_data(containers, name):
    token = containers.token("user", "u")
    before = containers.ask("/api/orders", token=token)[1]["results"]
    containers.compose("kill", name)
    containers.compose("up", "--detach", "--wait")
    wait_until(containers.is_ready, f"{name} is ready again")
    assert containers.ask("/api/orders", token=token) == (200, {"next": None, "previous": None, "results": before})


def test_a_reload_takes_up_the_mounted_gateway_yaml(containers):
    containers.compose("kill", "--signal", "HUP", "gateway")
    unchanged = "gateway.yaml has not changed"
    wait_until(lambda: unchanged in containers.compose("logs", "--no-color", "gateway"), "SIGHUP")
    containers.compose("kill", "--signal", "USR1", "gateway")
    wait_until(lambda: "New workers serve" in containers.compose("logs", "--no-color", "gateway"), "new workers serve")
    assert containers.ask("/healthz")[0] == 200


def test_down_and_up_keep_the_data(containers):
    token = containers.token("user", "u")
    before = containers.ask("/api/orders", token=token)[1]
    containers.compose("down")
    containers.compose("up", "--detach", "--wait")
    wait_until(containers.is_ready, "the services are ready")
    assert containers.ask("/api/orders", token=token)[1] == before
    assert before["results"]
