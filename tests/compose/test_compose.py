"""The three as containers, as compose.yaml starts them. Needs an engine with Compose."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.compose.containers import Containers, pip_variables
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    pip = pip_variables(tmp_path_factory.mktemp("pip"))
    running = Containers("test", "172.30.81.0/24", "compose.yaml", **pip)
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


def test_a_build_installs_from_where_the_settings_of_pip_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "of-this-machine.conf"
    settings.write_text("[global]\nextra-index-url = http://second.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIP_INDEX_URL", "http://first.example/simple")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    building = Containers("pip", "172.30.83.0/24", "compose.yaml", **pip_variables(tmp_path))
    shown = building.compose("--progress", "plain", "build", "--no-cache", "users", check=False)
    # Without TLS pip does not connect to them.
    for host in ("first.example", "second.example"):
        assert f"The repository located at {host} is not a trusted or secure host" in shown
