"""A slow client delays no other client: a request is forwarded once its body is here, and held bodies have a bound."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks import STATIC
from tests.conformance.doors import SERVICE, Doors, faults_in
from tests.conformance.gateways import DOORS, Gateway
from tests.conformance.wire import (
    KIB,
    MIB,
    Call,
    Service,
    Wire,
    answer,
    ask,
    content,
    forget_peak,
    memory,
    on_a_loop,
    once,
    until,
    until_steady,
)

# Bytes that a worker holds for its clients, and of a body before it is forwarded.
LIMIT, HELD = 64 * MIB, MIB
# More than Django has threads.
MANY = 60
ENVIRON = {"LOGIN_FREE_TRIES_PER_ADDRESS": "1000"}
KINDS = ["application/json", "text/html"]


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """The port of a service that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        yield listening.getsockname()[1]


@pytest.fixture(scope="module")
def gateway(silent: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The fast door, and Django behind it, in front of a service and of a login service that never responds."""
    config: dict[str, Any] = {
        "services": {
            "one": {"url": f"http://127.0.0.1:{SERVICE}"},
            "silent": {"url": f"http://127.0.0.1:{silent}", "timeouts": {"total": "60s"}},
        },
        "login": {"service": "silent"},
        "routes": [
            {"path": "/api/small", "service": "one", "allow": "public"},
            {"path": "/api/tiny", "service": "one", "allow": "public", "max_body": "1KiB"},
            {"path": "/api/large", "service": "one", "allow": "public", "max_body": "64MiB"},
        ],
    }
    with Gateway("fast", tmp_path_factory.mktemp("slow") / "var", config, environ=ENVIRON, measured=False) as gateway:
        yield gateway
        assert faults_in(gateway) == []


async def ok(call: Call) -> None:
    """Respond with the size of the body, as JSON."""
    got = await call.sum()
    await call.wire.send(answer(json.dumps({"size": got.size}).encode(), "200 OK", "Content-Type: application/json"))


async def is_answered(port: int) -> bool:
    """Return whether a program, a browser and the login page receive a response."""
    replies = [
        await once(port, ask("GET /api/small", "Accept: application/json")),
        await once(port, ask("GET /api/small", "Accept: text/html")),
        await once(port, ask("GET /login/", "Accept: text/html")),
    ]
    return [reply.status for reply in replies] == [200, 200, 200]


# Bodies.


@pytest.mark.parametrize("accept", KINDS)
@pytest.mark.parametrize("chunked", [False, True])
@on_a_loop(within=60)
async def test_a_request_is_forwarded_once_its_body_is_complete(gateway: Gateway, accept: str, chunked: bool) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 200000"
    size = 200_000

    def piece(length: int) -> bytes:
        return b"%x\r\n%b\r\n" % (length, b"x" * length) if chunked else b"x" * length

    async with Service(SERVICE, ok) as service, contextlib.AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(await Wire.to(gateway.port)) for _ in range(MANY)]
        for wire in wires:
            await wire.send(ask("POST /api/small", f"Accept: {accept}", framing) + piece(90_000))
        assert await is_answered(gateway.port)
        # One for the program's request; the page's may have reused it.
        assert service.connections <= 2
        await wires[0].send(piece(size - 90_000) + (b"0\r\n\r\n" if chunked else b""))
        assert (await wires[0].reply("POST")).status == 200


@pytest.mark.parametrize(
    "request_head",
    [
        ask("POST /api/login", "Content-Type: application/json", "Content-Length: 1000"),
        ask("POST /api/login", "Content-Type: application/json", "Content-Length: 1000", "Expect: 100-continue"),
        ask("POST /api/token/refresh", "Content-Type: application/json", "Content-Length: 1000"),
        ask("POST /login/", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 1000"),
        ask("POST /nothing/here", "Content-Length: 1000"),
        ask("POST /api/small", "Accept: text/html", "Content-Length: 1000", "Expect: 100-continue"),
    ],
    ids=["login", "login that expects", "refresh", "form", "nothing", "page that expects"],
)
@on_a_loop(within=60)
async def test_a_request_whose_body_does_not_arrive_occupies_no_thread(gateway: Gateway, request_head: bytes) -> None:
    async with Service(SERVICE, ok), contextlib.AsyncExitStack() as stack:
        for _ in range(MANY):
            wire = await stack.enter_async_context(await Wire.to(gateway.port))
            await wire.send(request_head + (b"" if b"Expect" in request_head else b"{"))
        assert await is_answered(gateway.port)


@pytest.mark.parametrize("accept", KINDS)
@on_a_loop(within=60)
async def test_a_large_body_is_forwarded_once_its_first_mib_has_arrived(gateway: Gateway, accept: str) -> None:
    size = 3 * MIB
    begun, got = asyncio.Event(), 0

    async def takes(call: Call) -> None:
        nonlocal got
        begun.set()
        async for piece in call.pieces():
            got += len(piece)
        await call.wire.send(answer(b"{}", "200 OK", "Content-Type: application/json"))

    async with Service(SERVICE, takes), await Wire.to(gateway.port) as wire:
        await wire.send(ask("POST /api/large", f"Accept: {accept}", f"Content-Length: {size}"))
        await wire.send(b"x" * (HELD - 1))
        assert (await once(gateway.port, ask("GET /healthz"))).status == 200
        assert not begun.is_set()
        await wire.send(b"x" * (MIB + 1))
        if accept != "text/html":
            await until(lambda: got == 2 * MIB, "the service has what has come")
        await wire.send(b"x" * (size - 2 * MIB))
        assert (await wire.reply("POST")).status == 200
        assert got == size


@pytest.mark.parametrize("accept", KINDS)
@on_a_loop(within=60)
async def test_a_body_over_the_route_s_limit_is_rejected_before_it_arrives(gateway: Gateway, accept: str) -> None:
    async with Service(SERVICE, ok) as service, await Wire.to(gateway.port) as wire:
        await wire.send(ask("POST /api/tiny", f"Accept: {accept}", "Content-Length: 1025"))
        assert (await wire.reply("POST")).status == 413
        assert service.connections == 0


# Memory.


@on_a_loop(within=120)
async def test_stalled_bodies_are_rejected_when_memory_is_short(gateway: Gateway, worker: int) -> None:
    piece = next(content(900 * KIB, 900 * KIB))

    async def stalls(wire: Wire) -> None:
        await wire.send(ask("POST /api/small", f"Content-Length: {MIB}"))
        await wire.send(piece)

    async with Service(SERVICE, ok) as service, contextlib.AsyncExitStack() as stack:
        before = forget_peak(worker)
        wires = [await stack.enter_async_context(await Wire.to(gateway.port)) for _ in range(100)]
        await asyncio.gather(*(stalls(wire) for wire in wires))
        # There is room for 72 of them.
        refused = [asyncio.create_task(wire.reply("POST")) for wire in wires]
        await until(
            lambda: sum(task.done() for task in refused) >= 100 - LIMIT // len(piece), "the other bodies are rejected"
        )
        gone = [task.result() for task in refused if task.done()]
        assert {reply.status for reply in gone} == {503}
        assert {reply.get("Retry-After") for reply in gone} == {"1"}
        assert sum(not task.done() for task in refused) > 50
        reply = await once(gateway.port, ask("POST /api/small", body=b"x" * MIB))
        assert (reply.status, json.loads(reply.body)) == (200, {"size": MIB})
        assert service.connections == 1
        # The counted bytes, and what Python and the system add.
        assert memory(worker, "VmHWM") - before < 2 * LIMIT
        for task in refused:
            task.cancel()


@on_a_loop(within=120)
async def test_unread_responses_occupy_no_thread_and_little_memory(gateway: Gateway, worker: int) -> None:
    async with Service(SERVICE, ok), contextlib.AsyncExitStack() as stack:
        assert await is_answered(gateway.port)
        before = forget_peak(worker)
        for _ in range(200):
            wire = await stack.enter_async_context(await Wire.to(gateway.port, receive_buffer=4 * KIB))
            await wire.send(ask(f"GET {STATIC}") * 100)
        assert await is_answered(gateway.port)
        assert memory(worker, "VmHWM") - before < 100 * MIB


@on_a_loop(within=60)
async def test_many_pipelined_requests_get_their_responses_in_order(gateway: Gateway, worker: int) -> None:
    async with Service(SERVICE, ok), await Wire.to(gateway.port) as wire:
        many = b"".join(
            ask("GET /api/small") + ask("POST /api/small", body=b"x" * size) for size in range(0, 20_000, 100)
        )
        sending = asyncio.create_task(wire.send(many))
        for size in range(0, 20_000, 100):
            assert json.loads((await wire.reply()).body) == {"size": 0}
            assert json.loads((await wire.reply("POST")).body) == {"size": size}
        await sending


@on_a_loop(within=60)
async def test_requests_pipelined_behind_a_slow_one_cost_little_memory(gateway: Gateway, worker: int) -> None:
    go_on = asyncio.Event()

    async def waits(call: Call) -> None:
        await go_on.wait()
        await ok(call)

    request = b"GET /api/small HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with Service(SERVICE, waits), contextlib.AsyncExitStack() as stack:
        before = forget_peak(worker)
        for _ in range(50):
            wire = await stack.enter_async_context(await Wire.to(gateway.port))
            wire.writer.write(request * 20_000)
        await until_steady(lambda: memory(worker))
        assert (await once(gateway.port, ask("GET /healthz"))).status == 200
        assert memory(worker, "VmHWM") - before < 50 * MIB
        go_on.set()


# Responses that need no thread.

PROBES = ["/healthz", "/.well-known/jwks.json", "/readyz"]


@on_a_loop(within=60)
async def test_probes_and_keys_respond_while_every_thread_waits(gateway: Gateway) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number in range(MANY):
            wire = await stack.enter_async_context(await Wire.to(gateway.port))
            body = b'{"username": "user%d", "password": "p"}' % number
            await wire.send(ask("POST /api/login", "Content-Type: application/json", body=body))
        for path in PROBES:
            # Threads wait for a minute.
            async with asyncio.timeout(20):
                assert (await once(gateway.port, ask(f"GET {path}"))).status in {200, 503}
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask("GET /login/"))
            with pytest.raises(TimeoutError):
                # Otherwise there would have been a thread for the probes too.
                async with asyncio.timeout(1):
                    await wire.reply()


UNALIKE = {"date", "x-request-id", "connection", "server", "allow", "vary"}


@pytest.mark.parametrize("path", PROBES[:2])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@on_a_loop(within=30)
async def test_the_fast_door_s_own_responses_equal_django_s(doors: Doors, path: str, method: str) -> None:
    replies = [await once(doors[door].port, ask(f"{method} {path}")) for door in DOORS]
    seen = [
        (reply.status, sorted((name.lower(), value) for name, value in reply.headers if name.lower() not in UNALIKE))
        for reply in replies
    ]
    assert seen[0] == seen[1]
    if method == "GET" and path == "/healthz":
        assert replies[0].body == replies[1].body
    if method == "GET" and path != "/healthz":
        assert {key for reply in replies for key in json.loads(reply.body)} == {"keys"}
