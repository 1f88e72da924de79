"""No mutated response breaks the fast door or reaches another request."""

import asyncio
import hashlib
import re
import string
import time
from collections import Counter
from random import Random

import pytest
from tests.conformance.client import ConnectionBroken, ProtocolViolation
from tests.conformance.doors import faults_in
from tests.conformance.gateways import Gateway
from tests.conformance.wire import Call, Service, Wire, answer, ask, on_a_loop
from tests.shares import share
from tests.soak.fuzzing import NO_HANG, PARALLEL, SEED, SERVICE, log, same_as_before, state_of
from tests.soak.mutations import mutated

pytestmark = pytest.mark.long


def marker(name: object) -> bytes:
    """Return a body that no other response has, however it is mutated."""
    return b"<%s>" % hashlib.sha256(str(name).encode()).hexdigest()[:16].encode()


MARKED = re.compile(rb"<[0-9a-f]{16}>")


POISON = marker("poison")


def valid_responses(body: bytes) -> list[bytes]:
    """Return valid responses."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7))
    framed = b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    return [
        answer(body),
        answer(body, "200 OK", "Content-Type: application/json", "Set-Cookie: a=b", "Set-Cookie: c=d"),
        answer(body, "404 Not Found", "Connection: close"),
        answer(body, "302 Found", "Location: /elsewhere", "Vary: Accept-Encoding"),
        answer(body * 5000),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body),
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(body),
        b"HTTP/1.1 200 OK\r\n" + framed,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + framed[:-2] + b"X-Trailer: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + body,
        b"HTTP/1.0 200 OK\r\n\r\n" + body,
        answer(body) + answer(POISON),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ]


class Responses:
    """A run of mutated responses: the service sends the one with the path's number."""

    def __init__(self, gateway: Gateway, count: int, seed: int) -> None:
        self.gateway = gateway
        self.seed = seed
        self.numbers = iter(range(count))
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.broken = 0
        self.asked: set[bytes] = set()

    def response(self, number: int) -> tuple[bytes, bool]:
        """Return a response, and whether the connection is closed after it."""
        random = Random(f"{self.seed} {number}")
        data = random.choice(valid_responses(marker(number)))
        return (data if number % 10 == 0 else mutated(random, data)), random.random() < 0.7

    async def serve(self, call: Call) -> None:
        """Send the response."""
        name = call.target.rpartition("/")[2]
        if not name.isdigit():
            await call.wire.send(answer(name.encode()))
            return
        data, close = self.response(int(name))
        await call.wire.send(data)
        if close:
            raise ConnectionBroken

    async def run(self) -> None:
        """Request them all, several at a time."""
        await asyncio.gather(*(self.client(n) for n in range(PARALLEL)))

    async def client(self, nth: int) -> None:
        """Request one after the other, on one connection for as long as it lasts."""
        wire = await Wire.to(self.gateway.port)
        try:
            for number in self.numbers:
                closes = True
                try:
                    async with asyncio.timeout(NO_HANG):
                        closes = await self.one(wire, number)
                except ConnectionBroken:
                    self.broken += 1
                except (ProtocolViolation, TimeoutError) as exc:
                    self.failures.append(f"{number}: {exc!r} after {self.response(number)!r:.400}")
                if closes:
                    wire.close()
                    wire = await Wire.to(self.gateway.port)
        finally:
            wire.close()

    async def one(self, wire: Wire, number: int) -> bool:
        """Request one, and check what comes; return whether the connection ends with it."""
        reply = await wire.gets(ask(f"GET /fuzz/{number}"))
        self.statuses[reply.status] += 1
        data, _ = self.response(number)
        if reply.status == 500 and b" 500" not in data:
            self.failures.append(f"{number}: 500 {reply.body!r} after {data!r:.400}")
        if reply.status < 200 or reply.all("X-Request-Id")[1:]:
            self.failures.append(f"{number}: {reply!r:.400} after {data!r:.400}")
        self.asked.add(marker(number))
        # A mutation may have made the poison a part of this response's body.
        others = set(MARKED.findall(reply.body)) & self.asked - {marker(number)}
        if others or (reply.body == POISON and POISON not in data):
            self.failures.append(f"{number}: the response to another request, {reply.body!r:.100}, after {data!r:.400}")
        return reply.closes


@on_a_loop(within=900)
async def test_twenty_thousand_mutated_responses_are_forwarded_or_replaced(fuzzed: Gateway) -> None:
    gateway, count, seed = fuzzed, share(20_000), SEED
    log.info("FUZZ_SEED=%d", seed)
    run = Responses(gateway, count, seed)
    async with Service(SERVICE, run.serve) as service:
        before = state_of(gateway, service)
        began = time.monotonic()
        await run.run()
        log.info("%d responses in %.1f s, %d broken off", count, time.monotonic() - began, run.broken)
        log.info("%s", dict(run.statuses))
        # They have reached the service, which was not ejected.
        assert run.statuses[503] < count / 100
        assert run.failures[:3] == []
        await same_as_before(gateway, service, before)
        # Bytes that are left on idle connections must not answer these requests.
        async with await Wire.to(gateway.port) as wire:
            for name in string.ascii_lowercase:
                reply = await wire.gets(ask(f"GET /fuzz/{name}"))
                assert (reply.status, reply.body) == (200, name.encode())
    # A truncated response is not a fault of the gateway, and is logged.
    assert [line for line in faults_in(gateway) if "without completing the response" not in line][:3] == []
