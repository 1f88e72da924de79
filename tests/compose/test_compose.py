"""The three as containers, as compose.yaml starts them. Needs an engine with Compose."""

import json
from collections.abc import Iterator

import pytest
from tests.compose.containers import Containers
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    running = Containers("test", "172.30.81.0/24", "compose.yaml")
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
