"""Reloads and stops of a real gateway: what runs is finished, and what is cut is said to be."""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.gateways import PROJECT, Gateway, free_port
from tests.conformance.wire import Call, Service, Wire, answer, ask, on_a_loop, once, until
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

SERVICE = free_port()


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
    """A service whose requests for /http/held wait; yields what is set when one waits, and what lets it go."""
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


# Reloads.


@pytest.mark.long
@pytest.mark.parametrize("path", ["/http/held", "/http/stream"])
def test_a_reload_lets_what_runs_finish_for_as_long_as_the_longest_total(tmp_path: Path, path: str) -> None:
    @on_a_loop(within=120)
    async def finish(gateway: Gateway) -> None:
        async with held() as (waits, let_go), await Wire.to(gateway.port) as wire:
            await wire.send(ask(f"GET {path}"))
            await waits.wait()
            await reloaded(gateway)
            # Longer than gunicorn's default, and than any fixed time that somebody would choose.
            await asyncio.sleep(20)
            let_go.set()
            reply = await wire.reply()
            assert reply.status == 200
            assert reply.body in {b"done", b"beginend"}

    with running(tmp_path) as gateway:
        finish(gateway)


@pytest.mark.parametrize(("total", "seconds"), [("60s", 68), ("250ms", 9), ("60m", 3608)])
def test_workers_may_finish_for_the_longest_total_of_gateway_yaml(tmp_path: Path, total: str, seconds: int) -> None:
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


def test_a_reload_says_what_is_in_force(tmp_path: Path) -> None:
    @on_a_loop(within=150)
    async def says(gateway: Gateway) -> None:
        path = gateway.var / "gateway.yaml"
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

    with running(tmp_path) as gateway:
        says(gateway)


def test_a_gateway_whose_old_worker_is_still_finishing_goes_on_as_ever(tmp_path: Path) -> None:
    @on_a_loop(within=150)
    async def goes_on(gateway: Gateway) -> None:
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

    with running(tmp_path) as gateway:
        goes_on(gateway)


def test_where_new_workers_cannot_start_the_old_ones_stay(tmp_path: Path) -> None:
    @on_a_loop(within=90)
    async def stay(gateway: Gateway) -> None:
        before = gateway.worker_pids()
        key = gateway.var / "gateway" / "keys" / "broken.pem"
        key.write_text("no key")
        gateway.reload()
        await until(lambda: any(line.startswith("Not reloaded:") for line in said(gateway)), "the failure", within=60)
        await until(lambda: gateway.worker_pids() == before, "the old worker alone is left")
        async with held():
            assert (await once(gateway.port, ask("GET /http/small"))).body == b"done"
        key.unlink()
        await reloaded(gateway)
        await until(lambda: not set(before) & set(gateway.worker_pids()), "the old worker has ended")

    with running(tmp_path) as gateway:
        stay(gateway)


def test_what_a_reload_breaks_off_does_not_blame_the_service(tmp_path: Path) -> None:
    @on_a_loop(within=90)
    async def breaks_off(gateway: Gateway) -> None:
        async with held(), await Wire.to(gateway.port) as wire:
            # An upload's time only begins with its end, so it can outlive every `total`.
            await wire.send(ask("POST /http/up", "Content-Length: 3000000") + b"x" * 2_000_000)
            await reloaded(gateway)
            reply = await wire.reply()
            assert (reply.status, reply.get("Retry-After")) == (503, "1")
            assert b"had not answered when the gateway was stopped" in reply.body
            assert b'"origin":"gateway"' in reply.body
        await until(lambda: "POST /http/up 503" in said(gateway), "the line of the access log")

    with running(tmp_path, "250ms") as gateway:
        breaks_off(gateway)


async def closed(socket: Any) -> tuple[int | None, int | None]:
    """Return the codes of the close frames that came, and that went out, once the connection has ended."""
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass
    await socket.wait_closed()
    return socket.close_code, socket.protocol.close_rcvd and socket.protocol.close_rcvd.code


@pytest.mark.parametrize("how", ["reload", "stop"])
def test_websockets_are_closed_with_service_restart_at_both_ends(tmp_path: Path, how: str) -> None:
    @on_a_loop(within=90)
    async def close(gateway: Gateway) -> None:
        ends: asyncio.Future[tuple[int | None, int | None]] = asyncio.get_running_loop().create_future()

        async def service(socket: ServerConnection) -> None:
            await socket.send("hello")
            ends.set_result(await closed(socket))

        url = f"ws://127.0.0.1:{gateway.port}/ws/x"
        async with serve(service, "127.0.0.1", SERVICE), connect(url, proxy=None) as socket:
            assert await socket.recv() == "hello"
            if how == "reload":
                gateway.reload()
            else:
                os.kill(gateway.pid, signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await closed(socket) == (CloseCode.SERVICE_RESTART, CloseCode.SERVICE_RESTART)
                assert await ends == (CloseCode.SERVICE_RESTART, CloseCode.SERVICE_RESTART)

    with running(tmp_path) as gateway:
        close(gateway)


# Stops.


async def ready(gateway: Gateway) -> tuple[int, bytes]:
    """Return what /readyz answers on a new connection."""
    reply = await once(gateway.port, ask("GET /readyz"))
    return reply.status, reply.body


def test_a_stop_is_seen_at_readyz_first_and_requests_are_served_on_meanwhile(tmp_path: Path) -> None:
    @on_a_loop(within=90)
    async def drain(gateway: Gateway) -> None:
        assert gateway.process
        async with held() as (waits, let_go), await Wire.to(gateway.port) as wire:
            assert (await ready(gateway))[0] == 200
            began = time.monotonic()
            os.kill(gateway.pid, signal.SIGTERM)
            while (await ready(gateway))[0] == 200:
                assert time.monotonic() < began + 3
            assert await ready(gateway) == (503, b'{"status": "draining"}')
            assert (await once(gateway.port, ask("GET /http/small"))).body == b"done"
            await wire.send(ask("GET /http/held"))
            await waits.wait()
            await until(lambda: "Worker shutting down" in "\n".join(said(gateway)), "the end of it", within=20)
            assert time.monotonic() >= began + 4
            # What runs then is finished.
            let_go.set()
            assert (await wire.reply()).body == b"done"
        await until(lambda: gateway.process is not None and gateway.process.poll() is not None, "the end", within=20)
        assert gateway.process.returncode == 0

    with running(tmp_path, DRAIN_SECONDS="4") as gateway:
        drain(gateway)


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_draining(tmp_path: Path, again: signal.Signals) -> None:
    with running(tmp_path, DRAIN_SECONDS="3600") as gateway:
        assert gateway.process
        os.kill(gateway.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while not any(line.startswith("Draining") for line in said(gateway)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert gateway.process.poll() is None
        os.kill(gateway.pid, again)
        assert gateway.process.wait(20) == 0


def test_a_stop_is_quick_by_default(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        assert gateway.process
        os.kill(gateway.pid, signal.SIGTERM)
        assert gateway.process.wait(10) == 0
