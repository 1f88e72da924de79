"""A changed gateway.yaml is taken up in the workers: no request, connection, WebSocket or count is lost.

By the watch, or at SIGHUP.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.gateways import PROJECT, Gateway, free_port
from tests.conformance.wire import Call, Service, Wire, answer, ask, on_a_loop, once, until, until_responds
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

SERVICE, SOCKETS = free_port(), free_port()
WORKERS = 2
# Connections that send requests without a pause, and open WebSockets.
CLIENTS, WEBSOCKETS = 6, 4
READY = ask("GET /readyz")
URL = f"http://127.0.0.1:{SERVICE}"


def config(number: int, **more: Any) -> dict[str, Any]:
    """Return a gateway.yaml that says its number in each response. Every other one changes the service too."""
    service = {"url": URL, "timeouts": {"total": f"{10 + number % 2}s"}}
    return {
        "services": {"one": service, "sockets": {"url": f"http://127.0.0.1:{SOCKETS}"}},
        "routes": [
            {"path": "/http/{path...}", "service": "one", "allow": "public",
             "headers": {"response": {"set": {"X-Number": number}}}},
            {"path": "/limited", "service": "one", "allow": "public", "rate_limit": "3/hour"},
            {"path": "/ws/{path...}", "service": "sockets", "allow": "public", "websocket": True},
            *more.get("routes", []),
        ],
    }  # fmt: skip


def text_of(content: dict[str, Any]) -> str:
    return json.dumps({"version": 1} | content)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of two workers that watches its file."""
    environ = {"GATEWAY_WATCH": "1"}
    with Gateway("fast", tmp_path / "var", config(0), WORKERS, environ, measured=False) as gateway:
        yield gateway


@pytest.fixture
def unwatched(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of two workers that takes up its file at SIGHUP."""
    with Gateway("fast", tmp_path / "var", config(0), WORKERS, measured=False) as gateway:
        yield gateway


def replace(gateway: Gateway, text: str) -> None:
    """Put the file there whole, as editors and deployments do."""
    new = gateway.var / "gateway.yaml.new"
    new.write_text(text)
    new.replace(gateway.var / "gateway.yaml")


def messages(gateway: Gateway) -> list[str]:
    return [line["message"] for line in gateway.log_lines()]


async def all_serve(gateway: Gateway, text: str) -> None:
    """Return when every worker serves that file, by /readyz."""
    config = {digest_of(text): WORKERS}
    await until_responds(gateway.port, READY, lambda reply: reply.json()["config"] == config, "in force")


async def taken_up(gateway: Gateway, text: str) -> None:
    """Put the file there, and return when every worker serves it."""
    replace(gateway, text)
    if not gateway.environ.get("GATEWAY_WATCH"):
        gateway.take_up()
    await all_serve(gateway, text)


async def readiness(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = (await once(gateway.port, READY)).json()
    return found


def gateway_rejected(gateway: Gateway) -> bool:
    return "was changed and rejected" in status_of(gateway)


def status_of(gateway: Gateway) -> str:
    """Return what `manage.py status` prints."""
    environ = os.environ | {"GATEHOUSE_VAR": str(gateway.var), "GATEWAY_CONFIG": str(gateway.var / "gateway.yaml")}
    command = [sys.executable, "manage.py", "status"]
    return subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=True).stdout


async def number(gateway: Gateway) -> str | None:
    return (await once(gateway.port, ask("GET /http/x"))).get("X-Number")


async def ok(call: Call) -> None:
    await call.sum()
    await call.wire.send(answer(b"ok", "200 OK", "Content-Type: text/plain"))


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def send_requests(gateway: Gateway, numbers: list[set[str | None]], stop: asyncio.Event) -> int:
    """Send requests on one connection until told to stop; return how many had their response."""
    sent = 0
    async with await Wire.to(gateway.port) as wire:
        while not stop.is_set():
            body = b"x" * 2000 if sent % 3 == 0 else None
            since = numbers[-1]
            reply = await wire.gets(ask(f"{'POST' if body else 'GET'} /http/{sent}", body=body))
            assert (reply.status, reply.body, reply.closes) == (200, b"ok", False)
            since.add(reply.get("X-Number"))
            sent += 1
    return sent


async def keep_talking(gateway: Gateway, stop: asyncio.Event) -> int:
    """Send messages through one WebSocket until told to stop; return how many came back."""
    sent = 0
    async with connect(f"ws://127.0.0.1:{gateway.port}/ws/x", proxy=None) as socket:
        while not stop.is_set():
            await socket.send(f"message {sent}")
            assert await socket.recv() == f"message {sent}"
            sent += 1
            await asyncio.sleep(0.01)
    return sent


@pytest.mark.parametrize("changes", [6, pytest.param(100, marks=pytest.mark.long)])
def test_changes_under_load_lose_no_request_and_no_websocket(gateway: Gateway, changes: int) -> None:
    @on_a_loop(within=60 + 3 * changes)
    async def change() -> None:
        workers = set(gateway.worker_pids())
        stop = asyncio.Event()
        numbers: list[set[str | None]] = [set()]
        async with Service(SERVICE, ok), serve(echo, "127.0.0.1", SOCKETS):
            clients = [asyncio.create_task(send_requests(gateway, numbers, stop)) for _ in range(CLIENTS)]
            talkers = [asyncio.create_task(keep_talking(gateway, stop)) for _ in range(WEBSOCKETS)]
            for count in range(1, changes + 1):
                await taken_up(gateway, text_of(config(count)))
                numbers.append(set())
                assert await number(gateway) == str(count)
            stop.set()
            assert min(await asyncio.gather(*clients)) > changes
            assert min(await asyncio.gather(*talkers)) > changes
        assert set(gateway.worker_pids()) == workers
        # A request is decided by the file in force when it was sent, or by the next one.
        for count, seen in enumerate(numbers):
            assert seen <= {str(count), str(count + 1)}

    change()
    assert not [line for line in gateway.log_lines() if line["level"] in {"ERROR", "CRITICAL"}]


@on_a_loop(within=120)
async def check_counts(gateway: Gateway) -> None:
    async with Service(SERVICE, ok):
        for count in range(1, 4):
            assert (await once(gateway.port, ask("GET /limited"))).status == 200
            await taken_up(gateway, text_of(config(count)))
        assert (await once(gateway.port, ask("GET /limited"))).status == 429
        metrics = (await once(gateway.port, ask("GET /metrics"))).body.decode()
    assert 'gateway_requests_total{method="GET",route="/limited",status="200"} 3.0' in metrics
    assert f'gateway_config_workers{{sha256="{digest_of(text_of(config(3)))}"}} 2.0' in metrics


def test_a_change_keeps_the_counts_of_limits_and_metrics(gateway: Gateway) -> None:
    check_counts(gateway)


@on_a_loop(within=120)
async def check_faulty(gateway: Gateway) -> None:
    async with Service(SERVICE, ok):
        good = text_of(config(1))
        await taken_up(gateway, good)
        assert "config_rejected" not in await readiness(gateway)
        replace(gateway, good.replace('"allow": "public"', '"allow": "noone"', 1).replace("3/hour", "3/week"))
        if not gateway.environ.get("GATEWAY_WATCH"):
            gateway.take_up()
        line = "gateway.yaml is not taken up: "
        await until(lambda: any(each.startswith(line) for each in messages(gateway)), "the fault in the log")
        await until(lambda: any("Still in force" in each for each in messages(gateway)), "the end of the faults")
        report = await readiness(gateway)
        assert (report["status"], report["config_rejected"]["faults"]) == ("ready", 2)
        metrics = (await once(gateway.port, ask("GET /metrics"))).body.decode()
        assert "gateway_config_rejected_faults 2.0" in metrics
        said = (
            f"gateway.yaml was changed and rejected at {report['config_rejected']['at']}: 2 faults; "
            f"sha256 {digest_of(good)} stays in force."
        )
        assert said in await asyncio.to_thread(status_of, gateway)
        assert (await readiness(gateway))["config"] == {digest_of(good): WORKERS}
        assert await number(gateway) == "1"
        assert f"Still in force: 3 routes of gateway.yaml (sha256 {digest_of(good)})" in messages(gateway)
        # A worker that is started later has the last good one too.
        old = set(gateway.worker_pids())
        os.kill(min(old), 9)
        await until(lambda: len(set(gateway.worker_pids()) - old) == 1, "another worker")
        await all_serve(gateway, good)
        # A file that equals the one in force is not rejected any more.
        await taken_up(gateway, good)
        await until(lambda: not gateway_rejected(gateway), "the good file")
        await taken_up(gateway, text_of(config(2)))
        assert await number(gateway) == "2"


@pytest.mark.parametrize("watched", [True, False], ids=["watch", "SIGHUP"])
def test_a_faulty_file_is_rejected_and_the_old_one_stays(watched: bool, request: pytest.FixtureRequest) -> None:
    gateway = request.getfixturevalue("gateway" if watched else "unwatched")
    check_faulty(gateway)
    faults = {each for each in messages(gateway) if each.startswith("gateway.yaml is not taken up: ")}
    assert any("'noone'; expected public, authenticated, or a list of roles" in fault for fault in faults)


@on_a_loop(within=120)
async def check_hangup(gateway: Gateway) -> None:
    workers = set(gateway.worker_pids())
    async with (
        Service(SERVICE, ok),
        serve(echo, "127.0.0.1", SOCKETS),
        await Wire.to(gateway.port) as wire,
        connect(f"ws://127.0.0.1:{gateway.port}/ws/x", proxy=None) as socket,
    ):
        assert (await wire.gets(ask("GET /limited"))).status == 200
        # Without the watch a change alone does nothing, and SIGHUP without a change neither.
        gateway.take_up()
        same = "gateway.yaml has not changed: 3 routes of gateway.yaml"
        await until(lambda: any(each.startswith(same) for each in messages(gateway)), "the line")
        for count in range(1, 4):
            await taken_up(gateway, text_of(config(count)))
            assert (await wire.gets(ask("GET /http/x"))).get("X-Number") == str(count)
            await socket.send(f"message {count}")
            assert await socket.recv() == f"message {count}"
        left = (await wire.gets(ask("GET /limited"))).get("RateLimit") or ""
        assert left.startswith('"default";r=1;')
    assert set(gateway.worker_pids()) == workers


def test_sighup_takes_up_a_change_without_new_workers(unwatched: Gateway) -> None:
    check_hangup(unwatched)
    assert not [line for line in unwatched.log_lines() if line["level"] in {"ERROR", "CRITICAL"}]


@on_a_loop(within=120)
async def check_swap(gateway: Gateway) -> None:
    """Change the file as Kubernetes changes a ConfigMap's: `..data` is a link that is replaced."""
    path = gateway.var / "gateway.yaml"
    for name, count in (("..1", 1), ("..2", 2)):
        (gateway.var / name).mkdir()
        (gateway.var / name / "gateway.yaml").write_text(text_of(config(count)))
    async with Service(SERVICE, ok):
        (gateway.var / "..data").symlink_to("..1")
        path.unlink()
        path.symlink_to("..data/gateway.yaml")
        await until(lambda: f"(sha256 {digest_of(text_of(config(1)))})" in "\n".join(messages(gateway)), "the first")
        (gateway.var / "..new").symlink_to("..2")
        (gateway.var / "..new").replace(gateway.var / "..data")
        await until_responds(gateway.port, ask("GET /http/x"), lambda reply: reply.get("X-Number") == "2", "the second")


def test_a_configmaps_swap_is_taken_up(gateway: Gateway) -> None:
    check_swap(gateway)


@on_a_loop(within=120)
async def check_new_services(gateway: Gateway) -> None:
    other = free_port()
    route = {"path": "/other", "service": "other", "allow": "public"}
    async with Service(SERVICE, ok), Service(other, ok):
        assert (await once(gateway.port, ask("GET /other"))).status == 404
        changed = config(1, routes=[route])
        changed["services"]["other"] = {"url": f"http://127.0.0.1:{other}"}
        await taken_up(gateway, text_of(changed))
        async with await Wire.to(gateway.port) as wire:
            assert (await wire.gets(ask("GET /other"))).status == 200
            await taken_up(gateway, text_of(config(2)))
            # On the connection that knew the route: what its headers were allowed is forgotten.
            assert (await wire.gets(ask("GET /other"))).status == 404
            page = await wire.gets(ask("GET /other", "Accept: text/html"))
            assert page.status == 404


def test_services_and_routes_come_and_go(gateway: Gateway) -> None:
    check_new_services(gateway)


@on_a_loop(within=120)
async def check_narrowed(gateway: Gateway) -> None:
    async with Service(SERVICE, ok), await Wire.to(gateway.port) as wire:
        assert (await wire.gets(ask("GET /http/x"))).status == 200
        narrowed = text_of(config(1)).replace('"allow": "public"', '"allow": "authenticated"', 1)
        await taken_up(gateway, narrowed)
        assert (await wire.gets(ask("GET /http/x"))).status == 401


def test_a_route_is_narrowed_on_connections_that_are_open(gateway: Gateway) -> None:
    check_narrowed(gateway)


@on_a_loop(within=150)
async def check_reload(gateway: Gateway) -> None:
    old = set(gateway.worker_pids())
    async with Service(SERVICE, ok):
        await taken_up(gateway, text_of(config(1)))
        gateway.reload()
        await until(lambda: not old & set(gateway.worker_pids()), "the old workers have ended", within=90)
        assert await number(gateway) == "1"
        await taken_up(gateway, text_of(config(2)))
        assert await number(gateway) == "2"


def test_a_reload_replaces_the_workers_as_it_does_without_the_watch(gateway: Gateway) -> None:
    check_reload(gateway)
