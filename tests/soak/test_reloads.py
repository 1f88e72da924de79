"""Reloads under load fail no request."""

import asyncio
import logging
from pathlib import Path
from typing import Self

import pytest
from tests.conformance.client import ConnectionBroken, ProtocolViolation
from tests.conformance.doors import CONFIG, SERVICE, giver, ok
from tests.conformance.gateways import Gateway
from tests.conformance.wire import PATIENCE, Call, Service, Wire, answer, ask, on_a_loop, until
from tests.shares import share

pytestmark = pytest.mark.long
# Figures: `--log-cli-level=INFO` shows them.
log = logging.getLogger(__name__)


class Load:
    """Clients that keep their connection until a response ends it, and then open another."""

    def __init__(self, port: int, clients: int) -> None:
        self.port = port
        self.clients = clients
        self.responses = 0
        self.reconnected = 0
        self.failures: list[str] = []
        self.over = False

    async def __aenter__(self) -> Self:
        self.tasks = [asyncio.create_task(self.client(n)) for n in range(self.clients)]
        await until(lambda: self.responses > 2 * self.clients or bool(self.failures), "the first responses")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.over = True
        await asyncio.gather(*self.tasks)

    async def client(self, number: int) -> None:
        """Send one request after the other; note each failure."""
        turn = number
        while not self.over:
            async with await Wire.to(self.port) as wire:
                closes = False
                while not (self.over or closes):
                    turn += 1
                    try:
                        closes = await self.request(wire, turn)
                    except (ConnectionBroken, ProtocolViolation, TimeoutError, AssertionError) as exc:
                        self.failures.append(f"{KINDS[turn % len(KINDS)]}: {exc!r}")
                        break
                    self.responses += 1
            self.reconnected += 1

    async def request(self, wire: Wire, turn: int) -> bool:
        """Send a request and check its response; return whether the connection ends with it."""
        kind = KINDS[turn % len(KINDS)]
        async with asyncio.timeout(PATIENCE):
            if kind == "post":
                reply = await wire.gets(ask(f"POST /small/{turn}", body=b"x" * 10_000))
                assert reply.body.startswith(f"/small/{turn} 10000 ".encode()), reply
            elif kind == "large":
                reply = await wire.gets(ask("GET /large/300000"))
                assert len(reply.body) == 300_000
            else:
                reply = await wire.gets(ask(f"GET /small/{turn}"))
                assert reply.body == f"/small/{turn} 0 0".encode(), reply
        assert reply.status == 200
        return reply.closes


KINDS = ("get", "post", "get", "large")


async def served(call: Call) -> None:
    """Respond to what `Load` sends."""
    await (giver(chunked=False) if "/large/" in call.target else ok)(call)


async def reloaded(gateway: Gateway) -> None:
    """Reload, and return when all workers are new and no old one is left."""
    before = set(gateway.worker_pids())
    gateway.reload()
    await until(
        lambda: bool(after := set(gateway.worker_pids())) and not after & before, "the workers are new", 3 * PATIENCE
    )


@on_a_loop(within=240)
async def test_ten_reloads_under_load_fail_no_request(gateway: Gateway) -> None:
    times = share(10)
    async with Service(SERVICE, served):
        async with Load(gateway.port, 24) as load:
            for _ in range(times):
                await reloaded(gateway)
                more = load.responses + 10 * load.clients
                await until(lambda: load.responses > more or bool(load.failures), "responses from the new workers")  # noqa: B023
        log.info("%d requests on %d connections, %d reloads", load.responses, load.reconnected, times)
        assert load.failures == []
        assert load.reconnected >= load.clients


@on_a_loop(within=60)
async def reload_with_a_fault(gateway: Gateway) -> None:
    """Reload with an invalid gateway.yaml, which the gateway must ignore, and then with a valid one."""
    path = gateway.var / "gateway.yaml"
    good = path.read_text()
    async with Service(SERVICE, served):
        async with Load(gateway.port, 8) as load:
            path.write_text('{"version": 1, "services": {}, "routes": [{"path": "/x", "service": "missing"}]}')
            lines = len(gateway.log.read_text())
            gateway.reload()
            await until(lambda: "missing" in gateway.log.read_text()[lines:], "the fault is in the log")
            more = load.responses + 500
            await until(lambda: load.responses > more or bool(load.failures), "responses after the faulty reload")
            assert gateway.process
            assert gateway.process.poll() is None
            path.write_text(good)
            await reloaded(gateway)
        assert load.failures == []


def test_a_reload_with_an_invalid_gateway_yaml_fails_no_request(tmp_path: Path) -> None:
    with Gateway("fast", tmp_path / "var", CONFIG) as gateway:
        reload_with_a_fault(gateway)


@on_a_loop(within=120)
async def test_a_reload_lets_running_requests_finish(gateway: Gateway) -> None:
    waits, let_go = asyncio.Semaphore(0), asyncio.Event()

    async def held(call: Call) -> None:
        if "stream" in call.target:
            await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nbegin")
        waits.release()
        await let_go.wait()
        await call.wire.send(b"end" if "stream" in call.target else answer(b"beginend"))

    async with Service(SERVICE, held), await Wire.to(gateway.port) as one, await Wire.to(gateway.port) as other:
        before = set(gateway.worker_pids())
        await one.send(ask("GET /large/held"))
        await other.send(ask("GET /large/stream"))
        await waits.acquire()
        await waits.acquire()
        gateway.reload()
        await until(lambda: bool(set(gateway.worker_pids()) - before), "a new worker")
        # Longer than gunicorn waits for an old worker by default.
        await asyncio.sleep(35)
        let_go.set()
        for wire in (one, other):
            reply = await wire.reply()
            assert (reply.status, reply.body) == (200, b"beginend")
