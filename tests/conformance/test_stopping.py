"""Reloads and stops of a real gateway: requests under way are finished, or cut off with a response."""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.gateways import PROJECT, Gateway, free_port
from tests.conformance.wire import Call, Service, Wire, answer, ask, on_a_loop, once, until, until_responds
from tests.waiting import DEADLINE, wait_until
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

SERVICE = free_port()
READY = ask("GET /readyz")


def config(total: str) -> dict[str, Any]:
    """Return a gateway.yaml whose longest `total` is that."""
    return {
        "services": {"one": {"url": f"http://127.0.0.1:{SERVICE}", "timeouts": {"total": total}}},
        "routes": [
            {"path": "/http/{path...}", "service": "one", "allow": "public", "max_body": "100MiB"},
            {"path": "/ws/{path...}", "service": "one", "allow": "public", "websocket": True},
        ],
    }


@contextlib.contextmanager
def running(place: Path, total: str = "60s", **environ: str) -> Iterator[Gateway]:
    """A gateway with one worker."""
    with Gateway("fast", place / "var", config(total), measured=False, environ=environ) as gateway:
        yield gateway


def said(gateway: Gateway, since: int = 0) -> list[str]:
    """Return the messages of the log, from that line on."""
    return [line["message"] for line in gateway.log_lines()[since:]]


async def reloaded(gateway: Gateway) -> None:
    """Reload, and return when the log says that new workers serve."""
    since = len(gateway.log_lines())
    gateway.reload()
    await until(
        lambda: any(line.startswith("New workers serve") for line in said(gateway, since)), "the reload", within=60
    )


@contextlib.asynccontextmanager
async def held() -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """A service whose requests for /http/held and /http/stream wait; yields the events of waiting and of going on."""
    waits, let_go = asyncio.Event(), asyncio.Event()

    async def handle(call: Call) -> None:
        await call.sum()
        if call.target == "/http/stream":
            await call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        if call.target in {"/http/held", "/http/stream"}:
            waits.set()
            await let_go.wait()
        if call.target == "/http/stream":
            await call.wire.send(b"3\r\nend\r\n0\r\n\r\n")
        else:
            await call.wire.send(answer(b"done"))

    async with Service(SERVICE, handle):
        yield waits, let_go


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that tests reload."""
    with running(tmp_path_factory.mktemp("reloads")) as gateway:
        yield gateway


# Reloads.


@pytest.mark.parametrize(("total", "seconds"), [("60s", 68), ("250ms", 9)])
def test_an_old_worker_may_take_the_longest_total_of_gateway_yaml_to_finish(
    tmp_path: Path, total: str, seconds: int
) -> None:
    environ = os.environ | {"GATEHOUSE_VAR": str(tmp_path), "GATEWAY_CONFIG": str(tmp_path / "gateway.yaml")}
    text = '{"version": 1, "services": {"a": {"url": "http://a", "timeouts": {"total": "200ms"}}}, "routes": [%s]}'
    route = '{"path": "/x", "service": "a", "allow": "public", "timeouts": {"total": "%s"}}'
    (tmp_path / "gateway.yaml").write_text(text % route % total)
    shown = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "--print-config", "gateway_project.asgi"],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [line.split("=")[1].strip() for line in shown.splitlines() if line.startswith("graceful_timeout ")] == [
        str(seconds)
    ]


@on_a_loop(within=150)
async def test_a_reload_logs_which_gateway_yaml_is_in_force(gateway: Gateway) -> None:
    path = gateway.var / "gateway.yaml"
    good = path.read_text()
    old = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    await until(lambda: f"Workers serve 2 routes of gateway.yaml (sha256 {old})" in said(gateway), "the start")
    path.write_text('{"version": 1, "services": {}, "routes": []}')
    new = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    await reloaded(gateway)
    assert said(gateway).count(f"New workers serve 0 routes of gateway.yaml (sha256 {new})") == 1
    path.write_text('{"version": 1, "services": {}, "routes": 7}')
    since = len(gateway.log_lines())
    await reloaded(gateway)
    lines = said(gateway, since)
    assert f"gateway.yaml is not reloaded: {path}:1:42: " in "\n".join(lines)
    assert f"New workers serve 0 routes of gateway.yaml (sha256 {new})" in lines
    path.write_text(good)
    await reloaded(gateway)


@on_a_loop(within=150)
async def test_a_gateway_serves_and_reloads_while_an_old_worker_still_finishes(gateway: Gateway) -> None:
    await until(lambda: len(gateway.worker_pids()) == 1, "one worker")
    async with held() as (waits, let_go), await Wire.to(gateway.port) as wire:
        (first,) = gateway.worker_pids()
        await wire.send(ask("GET /http/held"))
        await waits.wait()
        for _ in range(2):
            await reloaded(gateway)
            assert (await once(gateway.port, ask("GET /http/small"))).body == b"done"
        await until(lambda: len(gateway.worker_pids()) == 2, "one old worker and one new")
        (new,) = set(gateway.worker_pids()) - {first}
        os.kill(new, signal.SIGKILL)
        await until(lambda: bool(set(gateway.worker_pids()) - {first, new}), "the killed worker is replaced")
        assert (await once(gateway.port, ask("GET /http/small"))).body == b"done"
        assert first in gateway.worker_pids()
        let_go.set()
        assert (await wire.reply()).body == b"done"
        await until(lambda: first not in gateway.worker_pids(), "the old worker has ended")


@on_a_loop(within=60)
async def test_a_client_whose_response_is_under_way_at_a_reload_can_send_another_request(gateway: Gateway) -> None:
    async with held() as (_, let_go), await Wire.to(gateway.port) as wire:
        await wire.send(ask("GET /http/stream"))
        reply = await wire.head()
        assert not reply.closes
        since, before = len(gateway.log_lines()), set(gateway.worker_pids())
        gateway.reload()
        await until(lambda: "Worker shutting down" in "\n".join(said(gateway, since)), "the old worker stops")
        let_go.set()
        assert b"".join([piece async for piece in wire.pieces(reply)]) == b"beginend"
        # The response under way did not announce that the connection ends.
        reply = await wire.gets(ask("GET /http/small"))
        assert (reply.status, reply.closes) == (200, True)
        await until(lambda: not set(gateway.worker_pids()) & before, "the old worker has ended")


@on_a_loop(within=90)
async def test_the_old_workers_stay_if_new_ones_cannot_start(gateway: Gateway) -> None:
    await until(lambda: len(gateway.worker_pids()) == 1, "one worker")
    before = gateway.worker_pids()
    key = gateway.var / "gateway" / "keys" / "broken.pem"
    key.write_text("not a key")
    gateway.reload()
    await until(lambda: any(line.startswith("Not reloaded:") for line in said(gateway)), "the failure", within=60)
    await until(lambda: gateway.worker_pids() == before, "only the old worker is left")
    async with held():
        assert (await once(gateway.port, ask("GET /http/small"))).body == b"done"
    key.unlink()
    await reloaded(gateway)
    await until(lambda: not set(before) & set(gateway.worker_pids()), "the old worker has ended")


def test_an_upload_that_a_reload_cuts_off_is_a_503_of_the_gateway(tmp_path: Path) -> None:
    @on_a_loop(within=90)
    async def cuts_off(gateway: Gateway) -> None:
        async with held(), await Wire.to(gateway.port) as wire:
            # An upload's time only begins with its end, so it can outlive every `total`.
            await wire.send(ask("POST /http/up", "Content-Length: 3000000") + b"x" * 2_000_000)
            await reloaded(gateway)
            reply = await wire.reply()
            assert (reply.status, reply.get("Retry-After")) == (503, "1")
            assert (reply.json()["code"], reply.json()["origin"]) == ("gateway_stopped", "gateway")
        await until(lambda: "POST /http/up 503" in said(gateway), "the line of the access log")

    with running(tmp_path, "250ms") as gateway:
        cuts_off(gateway)


async def closed(socket: Any) -> tuple[int | None, int | None]:
    """Return the codes of the close frames that came, and that went out, once the connection has ended."""
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass
    await socket.wait_closed()
    return socket.close_code, socket.protocol.close_rcvd and socket.protocol.close_rcvd.code


@on_a_loop(within=90)
async def check_websocket_restart(gateway: Gateway, end: Callable[[], None]) -> None:
    """Assert that both ends of a WebSocket are closed with `service restart` after `end`."""
    ends: asyncio.Future[tuple[int | None, int | None]] = asyncio.get_running_loop().create_future()

    async def service(socket: ServerConnection) -> None:
        await socket.send("hello")
        ends.set_result(await closed(socket))

    url = f"ws://127.0.0.1:{gateway.port}/ws/x"
    async with serve(service, "127.0.0.1", SERVICE), connect(url, proxy=None) as socket:
        assert await socket.recv() == "hello"
        end()
        async with asyncio.timeout(DEADLINE):
            assert await closed(socket) == (CloseCode.SERVICE_RESTART, CloseCode.SERVICE_RESTART)
            assert await ends == (CloseCode.SERVICE_RESTART, CloseCode.SERVICE_RESTART)


def test_a_reload_closes_websockets_with_service_restart_at_both_ends(gateway: Gateway) -> None:
    check_websocket_restart(gateway, gateway.reload)


# Stops.


def test_readyz_reports_a_stop_first_while_requests_are_still_served(tmp_path: Path) -> None:
    @on_a_loop(within=90)
    async def drain(gateway: Gateway) -> None:
        assert gateway.process
        async with held() as (waits, let_go), await Wire.to(gateway.port) as wire:
            assert (await once(gateway.port, READY)).status == 200
            gateway.process.terminate()
            reply = await until_responds(gateway.port, READY, lambda reply: reply.status != 200, "the drain begins")
            assert (reply.status, reply.body) == (503, b'{"status": "draining"}')
            assert (await once(gateway.port, ask("GET /http/small"))).body == b"done"
            await wire.send(ask("GET /http/held"))
            await waits.wait()
            # A second signal ends the drain, and the request under way is finished.
            gateway.process.terminate()
            await until(lambda: "Worker shutting down" in "\n".join(said(gateway)), "the worker stops")
            let_go.set()
            assert (await wire.reply()).body == b"done"
        assert gateway.process.wait(DEADLINE) == 0

    with running(tmp_path, DRAIN_SECONDS="3600") as gateway:
        drain(gateway)


def test_an_interrupt_ends_the_drain(tmp_path: Path) -> None:
    with running(tmp_path, DRAIN_SECONDS="3600") as gateway:
        assert gateway.process
        gateway.process.terminate()
        wait_until(lambda: any(line.startswith("Draining") for line in said(gateway)), "the drain begins")
        assert gateway.process.poll() is None
        os.kill(gateway.pid, signal.SIGINT)
        assert gateway.process.wait(DEADLINE) == 0


def test_a_stop_drains_for_drain_seconds(tmp_path: Path) -> None:
    with running(tmp_path, DRAIN_SECONDS="2") as gateway:
        assert gateway.process
        began = time.monotonic()
        gateway.process.terminate()
        assert gateway.process.wait(DEADLINE) == 0
        assert time.monotonic() - began >= 2


def test_a_stop_closes_websockets_with_service_restart_and_is_quick_by_default(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        assert gateway.process
        check_websocket_restart(gateway, gateway.process.terminate)
        assert gateway.process.wait(DEADLINE) == 0
