"""A request without a task against the same one in a task: same bytes in, same bytes out, same request at the service.

The inputs follow from a seed, which a failure names.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from zlib import crc32

import pytest
import uvloop
from tests.gateway.proxy.client import Client, request_of
from tests.gateway.proxy.test_header_blocks import mutated
from tests.gateway.runtimes import runtime
from tests.gateway.upstreams.origin import Origin, Wire, until
from tests.shares import share

from gateway.policy.headers import TIME_LEFT
from gateway.proxy.application import FastProxy
from gateway.proxy.exchange import Exchange
from gateway.proxy.header_blocks import RequestMemo
from gateway.upstreams import Pool, Pools, heads
from gateway.upstreams.ejection import Ejection

Configure = Callable[..., None]
LARGE = b"x" * 100_000
RESPONSES = [
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nETag: "1"\r\n\r\n{}',
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\nETag: "2"\r\n\r\n{"a":"bcdef"}'[:-1],
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX-Request-ID: 12345678\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /api/things\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LARGE), LARGE),
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"hello\r\n\r\n",
]
REQUESTS = [
    request_of("GET", "/api/things"),
    request_of("GET", "/api/v1/things?a=b"),
    request_of("HEAD", "/api/things"),
    request_of("DELETE", "/api/items/1"),
    request_of("GET", "/api/items/a%20b?c", [("Accept", "application/json"), ("Connection", "close")]),
    request_of("GET", "/api/mine"),
    request_of("GET", "/nothing"),
    request_of("OPTIONS", "/api/things"),
    request_of("GET", "/api/things", version="1.0"),
    request_of("POST", "/api/things", [("Content-Length", "3")]) + b"abc",
    request_of("POST", "/api/things", [("Transfer-Encoding", "chunked")]) + b"3\r\nabc\r\n0\r\n\r\n",
]
# What differs from one run to the next.
# Headers of a request at the service. The time left is less once a request has waited on a busy machine.
VARYING = {"x-request-id", "traceparent", TIME_LEFT}
OWN = re.compile(rb'(?i)(x-request-id: |"request_id":"|\r\ndate: )[^"\r]*')


class NoIdle(Pool):
    """A pool that has no idle connection: every request waits for a new one, in a task."""

    def acquire_idle(self, *, repeatable: bool) -> None:
        """Return none."""


class NoMemo(RequestMemo):
    """Parses every request."""

    def recall(self, address: str, data: bytes, last: object = None) -> None:
        """Return none."""


class NoResponseMemo(heads.ResponseMemo):
    """Parses every response."""

    def recall(self, data: bytes) -> None:
        """Return none."""


class Door(FastProxy):
    """A door that keeps its exchanges."""

    exchanges: list[Exchange]

    def exchange(self, connection: Any, message: Any) -> Exchange:
        """Keep it."""
        self.exchanges.append(exchange := super().exchange(connection, message))
        return exchange


async def django(scope: Any, receive: Any, send: Any) -> None:
    """Respond as Django would."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


@asynccontextmanager
async def doors() -> AsyncIterator[list[Door]]:
    """A door that needs no task where nothing waits, and one that takes one for each request."""
    loop, opened = asyncio.get_running_loop(), []
    for waiting in False, True:
        pools = Pools(runtime().config.services, loop)
        door = Door(runtime().gate, pools, django, django, validation=runtime().validation, problems=runtime().problems)
        door.exchanges = []
        if waiting:
            for name, balancer in pools.services.items():
                without_idle = NoIdle(name, balancer.pools[0].address, loop)
                without_idle.memo = NoResponseMemo()
                without_idle.ejection = Ejection(balancer.policy, without_idle, balancer)
                balancer.by_url = [[without_idle]]
                balancer.sort()
            door.memo = NoMemo()
        opened.append(door)
    try:
        yield opened
    finally:
        for door in opened:
            door.pools.close()
            door.close()


async def output(door: Door, pieces: list[bytes]) -> bytes:
    """Return what a connection that receives these pieces sends, without what differs each time."""
    async with Client(door) as client:
        connection = client.connection

        def settled() -> bool:
            current = connection.current
            if current is None or connection.closed or connection.lingering:
                return True
            waiter = current.message.body.waiter if current.message.body else None
            return waiter is not None and not waiter.done()

        got = bytearray()

        async def read() -> None:
            while data := await client.reader.read(2**16):
                got.extend(data)

        reading = asyncio.create_task(read())
        for piece in pieces:
            if connection.closed or connection.lingering or connection.transport.is_closing():
                break
            connection.data_received(piece)
            await until(settled)
        # The client ends; what was sent before arrives.
        if not connection.closed:
            connection.transport.close()
        await reading
        return OWN.sub(rb"\1", bytes(got))


def service(wire_seen: list[tuple[str, str, list[tuple[str, str]], bytes]]) -> Callable[[Wire], Any]:
    """Return a service that responds by what it is asked for, and keeps that."""

    async def behave(wire: Wire) -> None:
        while True:
            seen = await wire.request()
            named = [(name, "" if name in VARYING else value) for name, value in seen.headers]
            wire_seen.append((seen.method, seen.target, named, seen.body))
            response = RESPONSES[crc32(f"{seen.method} {seen.target} {seen.body!r}".encode()) % len(RESPONSES)]
            if seen.method == "HEAD":
                response = response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            await wire.send(response)
            if b"Connection: close" in response or response.startswith(b"hello"):
                return

    return behave


def compare(configure: Configure, count: int, seed: int) -> None:
    """Send the same inputs to both doors."""

    async def run() -> None:
        random = Random(seed)
        seen: list[Any] = []
        async with Origin(service(seen)) as origin:
            configure(
                # Malformed responses must not eject the service.
                services={"things": {"url": origin.url, "eject": {"most": "0%"}}},
                versions={"current": "v1"},
                routes=[
                    {"path": "/api/things", "methods": ["GET", "POST"], "service": "things", "allow": "public"},
                    {"path": "/api/items/{id}", "methods": ["GET", "DELETE"], "service": "things", "allow": "public"},
                    {"path": "/api/mine", "methods": ["GET"], "service": "things", "allow": "authenticated"},
                ],
            )
            async with doors() as (straight, waiting):
                for number in range(count):
                    data = b"".join(random.choices(REQUESTS, k=random.choice([1, 1, 1, 2, 5])))
                    data = data.replace(b"things?a=b", b"things?a=%d" % random.randrange(50))
                    if random.random() < 0.3:
                        data = mutated(random, data)
                    cuts = sorted(random.sample(range(1, len(data)), k=min(len(data) - 1, random.choice([0, 0, 1, 3]))))
                    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
                    outcomes = []
                    for door in straight, waiting:
                        seen.clear()
                        outcomes.append((await output(door, pieces), list(seen)))
                    assert outcomes[0] == outcomes[1], (seed, number, pieces)
                assert sum(each.response is not None and each.task is None for each in straight.exchanges) > count / 4
                assert not any(each.response is not None and each.task is None for each in waiting.exchanges)
                assert len(straight.exchanges) == len(waiting.exchanges) > count / 2

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_a_request_without_a_task_gets_the_response_of_one_with_a_task(configure: Configure) -> None:
    compare(configure, 150, 1)


@pytest.mark.long
def test_many_requests_without_a_task_get_the_responses_of_those_with_a_task(configure: Configure) -> None:
    compare(configure, share(50_000), Random().randrange(2**32))
