"""No mutated request breaks the fast door or gets past it."""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from tests.conformance.client import STATUS_LINE, ConnectionBroken, ProtocolViolation, framing
from tests.conformance.doors import faults_in
from tests.conformance.gateways import Gateway
from tests.conformance.wire import KIB, Call, Service, Wire, answer, ask, chunk_size, head_of, on_a_loop
from tests.shares import share
from tests.soak.fuzzing import MAX_BODY, NO_HANG, PARALLEL, SEED, SERVICE, log, same_as_before, state_of
from tests.soak.mutations import mutated

pytestmark = pytest.mark.long
# Statuses that a request may cause. The others are the service's fault, which a request must not cause.
OF_REQUESTS = {
    200, 204, 301, 302, 308, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 421, 426, 429, 431, 501, 505,
}  # fmt: skip

END = b"0\r\n\r\n"


def valid_requests(token: str) -> list[bytes]:
    """Return valid requests."""
    bearer = f"Authorization: Bearer {token}"
    chunks = b"5\r\nchunk\r\n6;ext=1\r\nchunks\r\n0\r\n\r\n"
    smuggled = ask("GET /api/admins-only", "Request-User-Id: 1")
    return [
        ask("GET /api/open/1"),
        ask("GET /api/v1/open/1?a=b&c=%20", "Accept: application/json", "User-Agent: fuzz/1.0"),
        ask("GET /api/users-only/1", bearer),
        ask("GET /api/admins-only", bearer),
        ask("DELETE /api/open/1", bearer),
        ask("OPTIONS /api/open/1"),
        ask("GET http://localhost/api/open/absolute", "Connection: keep-alive"),
        ask("GET /files/a/b%20c/d.txt", "Accept: text/html,*/*;q=0.8"),
        ask("GET /healthz"),
        ask("GET /ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ask("POST /api/open/1", "Content-Type: application/json", body=b'{"some": "body"}'),
        ask("POST /api/users-only/1", bearer, "Expect: 100-continue", body=b"expected"),
        ask("PUT /api/open/1", bearer, body=smuggled),
        ask("POST /api/open/1", "Transfer-Encoding: chunked", body=chunks),
        ask("POST /api/users-only/1", bearer, "Transfer-Encoding: chunked", body=chunks),
        ask("POST /api/open/1", "Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n" % (len(smuggled), smuggled) + END),
        ask("POST /api/open/1", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX-Trailer: x\r\n\r\n"),
    ]  # fmt: skip


# Completes whatever an input has begun, or makes it invalid: the end of headers, of a line, of a body as large as the
# routes accept, or another request. It ends the connection.
LAST = ask("GET /api/open/last", "Connection: close")


TAIL = b"\r\n\r\n" + LAST + b"-" * (1024 * KIB + MAX_BODY) + b"\r\n\r\n" + LAST


SHORT_TAIL = b"\r\n\r\n" + LAST + b"-" * 2 * MAX_BODY + b"\r\n\r\n" + LAST


class Recorder:
    """The service: responds, and records each request that the gateway should not have sent."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.wrong: list[str] = []
        # Method and path, by the gateway's id of the request.
        self.seen: dict[str, str] = {}
        self.count = 0

    async def __call__(self, call: Call) -> None:
        """Check the request, and respond."""
        self.count += 1
        self.wrong += [f"{fault}: {call.line!r} {call.headers}" for fault in self.faults(call)]
        self.seen["".join(call.all("x-request-id"))] = call.line
        await call.body()
        await call.wire.send(answer(b"ok"))

    def faults(self, call: Call) -> Iterator[str]:
        """Yield what is wrong with the request."""
        named: dict[str, list[str]] = {}
        for name, value in call.headers:
            named.setdefault(name.lower().replace("_", "-"), []).append(value)
        method, target, _ = call.line.split(" ")
        path = target.partition("?")[0]
        user_ids = named.get("request-user-id", [])
        for fault, is_there in {
            "a path that is not routed, or can be read in two ways": not ROUTED.fullmatch(path)
            or DOUBTFUL.search(path),
            "a method that no route has": method not in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
            "a user's id that is not the gateway's": user_ids not in ([], [self.user_id]),
            "a user without a passport, or a passport without a user": bool(user_ids) != ("authorization" in named),
            "no user, where a login is required": "/users-only/" in path and not user_ids,
            "a user who is not an admin": "admins-only" in path,
            "an address that is not the client's": not ADDRESS.fullmatch(",".join(named.get("x-forwarded-for", []))),
            "a scheme that is not the client's": named.get("x-forwarded-proto") != ["http"],
            "a host that is not the gateway's": not OURS.fullmatch(",".join(named.get("x-forwarded-host", []))),
            "an id that is not the gateway's": not REQUEST_ID.fullmatch(",".join(named.get("x-request-id", []))),
            "a hop-by-hop header": named.keys() & BETWEEN_NEIGHBOURS,
            "an upgrade": "upgrade" in named and path != "/ws",
            "another host": named.get("host") != [f"127.0.0.1:{SERVICE}"],
        }.items():
            if is_there:
                yield fault


ADDRESS = re.compile(r"127\.0\.0\.[0-9]+")


OURS = re.compile(r"localhost(:[0-9]*)?|127\.0\.0\.1(:[0-9]*)?", re.IGNORECASE)


# The fuzzer's is of sixes.
REQUEST_ID = re.compile(r"(?!666666)[0-9a-f]{32}")


BETWEEN_NEIGHBOURS = {"forwarded", "x-real-ip", "te", "trailer", "keep-alive", "expect", "proxy-connection"}


ROUTED = re.compile(r"/api/(?:v1/)?(?:open|users-only)/[^/]+|/api/(?:v1/)?admins-only|/files/.*|/ws|/fuzz/[^/]+")


DOUBTFUL = re.compile(r"//|/\.\.?(?:[;/]|$)|\\|%2[fF]|%5[cC]|%2[eE]|%00|[^\x21-\x7e]|#")


def responses_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield status and body of each response; raise `ProtocolViolation`, `ConnectionBroken` if one is truncated."""
    while data:
        block, data = parted(data, b"\r\n\r\n")
        head = head_of(block)
        if head.status < 200:
            continue
        kind, body = framing(head, "GET"), b""
        if kind == "length":
            length = int(head.all("Content-Length")[0])
            if len(data) < length and STATUS_LINE.match(data.partition(b"\r\n")[0]):
                length = 0  # the answer to HEAD
            body, data = first(data, length)
        elif kind == "chunked":
            body, data = unchunked(data)
        elif kind == "close":
            body, data = data, b""
        yield head.status, body


def parted(data: bytes, end: bytes) -> tuple[bytes, bytes]:
    """Return what comes before `end`, and what comes after it."""
    before, found, after = data.partition(end)
    if not found:
        raise ConnectionBroken(f"The connection ended in {before[:200]!r}.")
    return before, after


def first(data: bytes, length: int) -> tuple[bytes, bytes]:
    """Return the first bytes, and the others."""
    if len(data) < length:
        raise ConnectionBroken("The connection ended in a body.")
    return data[:length], data[length:]


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    """Return a chunked body without its framing, and what comes after it."""
    body = b""
    while True:
        line, data = parted(data, b"\r\n")
        length = chunk_size(line)
        piece, data = first(data, length)
        end, data = first(data, 2)
        if end != b"\r\n":
            raise ProtocolViolation(f"Expected the end of a chunk, got {end!r}.")
        if not length:
            return body, data
        body += piece


class Requests:
    """A run of mutated requests."""

    def __init__(self, gateway: Gateway, count: int, seed: int) -> None:
        self.gateway = gateway
        self.seed = seed
        self.numbers = iter(range(count))
        self.valid = valid_requests(gateway.token("2", "default"))
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.broken = 0

    def inputs(self, number: int) -> list[bytes]:
        """Return what is sent on one connection, write by write."""
        random = Random(f"{self.seed} {number}")
        parts = [random.choice(self.valid) for _ in range(random.choice([0, 0, 0, 1, 2]))]
        parts.append(mutated(random, random.choice(self.valid)))
        # Only these routes accept a body as large as the default limit.
        sent = b"".join([*parts, TAIL if b"users-only" in parts[-1] or b"admins-only" in parts[-1] else SHORT_TAIL])
        pieces = []
        for _ in range(random.choice([0, 0, 1, 3])):
            at = random.randrange(1, 600)
            pieces.append(sent[:at])
            sent = sent[at:]
        return [*pieces, sent]

    async def run(self) -> None:
        """Send them all, several at a time."""
        await asyncio.gather(*(self.client(n) for n in range(PARALLEL)))

    async def client(self, nth: int) -> None:
        """Send one after the other."""
        for number in self.numbers:
            try:
                async with asyncio.timeout(NO_HANG):
                    self.judge(number, await self.sent(number, f"127.0.0.{1 + nth % 16}"))
            except TimeoutError:
                self.failures.append(f"{number}: nothing for {NO_HANG} s after {self.inputs(number)!r:.600}")
            except ProtocolViolation as exc:
                self.failures.append(f"{number}: {exc} after {self.inputs(number)!r:.600}")

    async def sent(self, number: int, source: str) -> bytes:
        """Send one connection's inputs; return all that comes back."""
        async with await Wire.to(self.gateway.port, source=source) as wire:
            sending = asyncio.create_task(self.send(wire, self.inputs(number)))
            got = []
            try:
                while piece := await wire.some():
                    got.append(piece)
            except ConnectionBroken:
                self.broken += 1
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            return b"".join(got)

    async def send(self, wire: Wire, pieces: list[bytes]) -> None:
        """Send the pieces, each in a packet of its own if possible."""
        with contextlib.suppress(ConnectionBroken):
            for piece in pieces:
                await wire.send(piece)
                await asyncio.sleep(0)

    def judge(self, number: int, got: bytes) -> None:
        """Record each status that a request must not cause."""
        with contextlib.suppress(ConnectionBroken):
            for status, body in responses_in(got):
                self.statuses[status] += 1
                if status not in OF_REQUESTS:
                    self.failures.append(f"{number}: {status} {body!r} after {self.inputs(number)!r:.600}")


@on_a_loop(within=900)
async def test_a_hundred_thousand_mutated_requests_are_served_or_rejected(fuzzed: Gateway) -> None:
    gateway, count, seed = fuzzed, share(100_000), SEED
    log.info("FUZZ_SEED=%d", seed)
    recorder = Recorder("2")
    run = Requests(gateway, count, seed)
    async with Service(SERVICE, recorder) as service:
        async with await Wire.to(gateway.port) as wire:
            for request in run.valid:
                reply = await wire.gets(request)
                assert reply.status == (403 if b"admins-only" in request[:40] else 204 if reply.status == 204 else 200)
        before = state_of(gateway, service)
        began = time.monotonic()
        await run.run()
        took = time.monotonic() - began
        log.info("%d inputs in %.1f s, %d reached the service, %d broken", count, took, recorder.count, run.broken)
        log.info("%s", dict(run.statuses))
        assert run.failures[:3] == []
        assert recorder.wrong[:3] == []
        assert recorder.count > count / 20
        await same_as_before(gateway, service, before)
        async with await Wire.to(gateway.port) as wire:
            assert (await wire.gets(ask("GET /api/open/after"))).status == 200
    assert faults_in(gateway)[:3] == []
    # The service saw the requests that the gateway logged: none was hidden within another.
    for entry, line in zip(gateway.wait_for_lines(*recorder.seen), recorder.seen.values(), strict=True):
        assert entry["method"] == line.split(" ")[0]
