"""Nothing that a client or a service sends breaks the fast door, or gets past it: requests and answers, mutated.

`FUZZ_SEED` repeats a run, `LONG_SHARE` makes the long ones shorter. A failure names its input's number.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random, SystemRandom
from typing import Any

import pytest
from tests.conformance.client import STATUS_LINE, ConnectionBroken, ProtocolViolation, framing
from tests.conformance.gateways import Gateway, free_port
from tests.conformance.wire import (
    KIB,
    MIB,
    Call,
    Service,
    Wire,
    answer,
    ask,
    chunk_size,
    head_of,
    memory,
    on_a_loop,
    sockets,
    until,
)
from tests.shares import share

log = logging.getLogger(__name__)

SERVICE = free_port()
MOST = 2 * KIB
CONFIG: dict[str, Any] = {
    "services": {"one": {"url": f"http://127.0.0.1:{SERVICE}"}},
    "versions": {"current": "v1"},
    "routes": [
        {"path": "/api/open/{id}", "service": "one", "allow": "public", "max_body": MOST},
        {"path": "/api/users-only/{id}", "service": "one", "allow": "authenticated", "methods": ["GET", "POST"]},
        {"path": "/api/admins-only", "service": "one", "allow": ["admin"]},
        {"path": "/files/{path...}", "service": "one", "allow": "public", "methods": ["GET"], "browser": "passthrough"},
        {"path": "/ws", "service": "one", "allow": "public", "methods": ["GET"], "websocket": True},
        {"path": "/fuzz/{n}", "service": "one", "allow": "public", "timeouts": {"total": "400ms"}},
    ],
}
# The run of everything has the same inputs each time; a longer one looks for new ones.
SEED = int(os.environ.get("FUZZ_SEED") or 1)
NEW_SEED = int(os.environ.get("FUZZ_SEED") or SystemRandom().randrange(2**32))
PARALLEL = 32
# Seconds that one connection's inputs may take: fewer than any clock of the gateway's that would end a hang.
NO_HANG = 15

# What is said of a request: 4xx, 501 and 505. What is the service's fault is not for a request to bring about.
OF_REQUESTS = {
    200, 204, 301, 302, 308, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 421, 426, 429, 431, 501, 505,
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway, one worker, at its fast door."""
    with Gateway("fast", tmp_path_factory.mktemp("fuzz") / "var", CONFIG) as gateway:
        yield gateway


# Mutations, of requests and answers alike.


def flip(random: Random, data: bytes) -> bytes:
    """Flip a few bits."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 4, 16])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def replace(random: Random, data: bytes) -> bytes:
    """Put another byte somewhere, of those that mean something."""
    at = random.randrange(len(data))
    return data[:at] + random.choice(SPECIAL) + data[at + 1 :]


def insert(random: Random, data: bytes) -> bytes:
    """Put something in somewhere."""
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice([random.choice(SPECIAL), random.randbytes(random.randrange(1, 9))]) + data[at:]


def cut(random: Random, data: bytes) -> bytes:
    """Leave out a part."""
    start = random.randrange(len(data))
    return data[:start] + data[start + random.choice([1, 1, 2, 8, 64]) :]


def truncate(random: Random, data: bytes) -> bytes:
    """Leave out the end."""
    return data[: random.randrange(1, len(data) + 1)]


def lines(random: Random, data: bytes) -> bytes:
    """Double, move, swap or drop a line."""
    parts = data.split(b"\r\n")
    at, to = random.randrange(len(parts)), random.randrange(len(parts))
    match random.randrange(4):
        case 0:
            parts.insert(to, parts[at])
        case 1:
            parts.insert(to, parts.pop(at))
        case 2:
            parts[at], parts[to] = parts[to], parts[at]
        case _:
            del parts[at]
    return b"\r\n".join(parts)


def line_ends(random: Random, data: bytes) -> bytes:
    """End a line otherwise."""
    ends = [found.start() for found in re.finditer(b"\r\n", data)]
    if not ends:
        return data
    at = random.choice(ends)
    return (
        data[:at]
        + random.choice([b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n ", b"\r\n\t", b"\0\r\n"])
        + data[at + 2 :]
    )


def header(random: Random, data: bytes) -> bytes:
    """Put in a header that matters."""
    line, end, rest = data.partition(b"\r\n")
    return line + end + random.choice(HEADERS) + b"\r\n" + rest


def case(random: Random, data: bytes) -> bytes:
    """Change the case of a part."""
    start = random.randrange(len(data))
    return data[:start] + data[start : start + 20].swapcase() + data[start + 20 :]


def number(random: Random, data: bytes) -> bytes:
    """Say another number."""
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return data
    one = random.choice(found)
    return data[: one.start()] + random.choice(NUMBERS) + data[one.end() :]


def huge(random: Random, data: bytes) -> bytes:
    """Make a line, or the number of lines, very large."""
    line, end, rest = data.partition(b"\r\n")
    match random.randrange(4):
        case 0:
            return line.replace(b" HTTP", b"x" * random.choice([4000, 9000, 70_000]) + b" HTTP") + end + rest
        case 1:
            return line + end + b"X-Huge: " + b"x" * random.choice([8000, 8200, 70_000]) + end + rest
        case 2:
            return line + end + b"X-Many: x\r\n" * random.choice([99, 101, 3000]) + rest
        case _:
            return line + end + b"x" * random.choice([300, 70_000]) + b": x\r\n" + rest


def noise(random: Random, data: bytes) -> bytes:
    """Say something else altogether."""
    return random.randbytes(random.choice([1, 16, 256, 4096]))


SPECIAL = [bytes([n]) for n in [*range(33), 127, 128, 160, 255]] + [
    b"\r\n", b"\r\n\r\n", b":", b" ", b"%", b"%00", b"%2e%2e", b"%2F", b"/", b"//", b"/..", b"\\", b"?", b"#", b";",
    b"\xc0\xaf", b"\xe2\x80\xa8", b"@", b"[", b"]", b"{", b"0x", b"+", b"-", b"_",
]  # fmt: skip
LINE_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n ", b"\r\n\t", b"\0\r\n"]
NUMBERS = [b"0", b"1", b"-1", b"+1", b"00", b"7", b"11", b"0x10", b"1e3", b"10, 10", b"65536", b"4294967296", b"9" * 17,
           b"18446744073709551616", b"9" * 40, b"f", b"FFFFFFFFFFFFFFFF", b"", b" 3", b"3_0", "٣".encode()]  # fmt: skip
HEADERS = [
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 4, 4", b"Content-Length : 4", b"Content-Length: +4",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding:\x0bchunked", b"Transfer_Encoding: chunked",
    b"Transfer-Encoding: xchunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding\t: chunked",
    b"Request-User-Id: 666", b"request-user-id: 666", b"Request_User_Id: 666", b"REQUEST-USER-ID : 666",
    b"Request-User-Id: 666\r\nRequest-User-Id: 666", b"X-Forwarded-For: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6",
    b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: https", b"Forwarded: for=6.6.6.6", b"X-Real-IP: 6.6.6.6",
    b"X-Request-Id: 66666666666666666666666666666666", b"Host: evil.example", b"Host: localhost", b"Host:",
    b"Connection: close", b"Connection: keep-alive", b"Connection: Request-User-Id, X-Forwarded-For, Host",
    b"Connection: Upgrade\r\nUpgrade: websocket", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    b"Expect: 100-continue", b"Expect: nothing", b"Authorization: Bearer x.y.z", b"Authorization: Basic eDp5",
    b"Cookie: a=b; \xff=\x01", b"Accept: text/html", b"TE: trailers", b"Trailer: X", b"Keep-Alive: timeout=1",
    b"Range: bytes=0-", b"Accept: " + b"text/html;q=0.1," * 200, b": empty", b"No colon", b"X-Odd: \xe4\xf6\xfc",
]  # fmt: skip
MUTATIONS: list[Callable[[Random, bytes], bytes]] = [
    flip, flip, replace, replace, insert, insert, cut, truncate, lines, lines, line_ends, header, header, header, case,
    number, number, huge, noise,
]  # fmt: skip


def mutated(random: Random, data: bytes) -> bytes:
    """Return the data with one to four mutations."""
    for _ in range(random.choice([1, 1, 1, 2, 2, 3, 4])):
        data = random.choice(MUTATIONS)(random, data) or b"\r\n"
    return data


# Requests.

END = b"0\r\n\r\n"


def valid_requests(token: str) -> list[bytes]:
    """Return requests that are good as they are."""
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


# Whatever the parser waits for after an input, this is it, or is wrong: the end of a head, of a line, of as large a
# body as the routes take, or another request. It ends the connection.
LAST = ask("GET /api/open/last", "Connection: close")
TAIL = b"\r\n\r\n" + LAST + b"-" * (1024 * KIB + MOST) + b"\r\n\r\n" + LAST
SHORT_TAIL = b"\r\n\r\n" + LAST + b"-" * 2 * MOST + b"\r\n\r\n" + LAST


class Recorder:
    """The service: answers, and notes every request that the gateway should not have sent."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.wrong: list[str] = []
        # Method and path, by the gateway's id of the request.
        self.seen: dict[str, str] = {}
        self.count = 0

    async def __call__(self, call: Call) -> None:
        """Check the request, and answer it."""
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
            "a user without a passport, or nobody with one": bool(user_ids) != ("authorization" in named),
            "nobody, where someone has to be signed in": "/users-only/" in path and not user_ids,
            "someone who is no admin": "admins-only" in path,
            "an address that is not the client's": not ADDRESS.fullmatch(",".join(named.get("x-forwarded-for", []))),
            "a scheme that is not the client's": named.get("x-forwarded-proto") != ["http"],
            "a host that is not the gateway's": not OURS.fullmatch(",".join(named.get("x-forwarded-host", []))),
            "an id that is not the gateway's": not REQUEST_ID.fullmatch(",".join(named.get("x-request-id", []))),
            "a header between two neighbours": named.keys() & BETWEEN_NEIGHBOURS,
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


def answers_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield status and body of each answer; raise `ProtocolViolation`, or `ConnectionBroken` where the last is cut."""
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
        """Return the inputs of one connection, as they are written."""
        random = Random(f"{self.seed} {number}")
        parts = [random.choice(self.valid) for _ in range(random.choice([0, 0, 0, 1, 2]))]
        parts.append(mutated(random, random.choice(self.valid)))
        # A body as large as any that a default allows is a rare thing to have to send.
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
        """Send the pieces, each on its own as far as that can be done."""
        with contextlib.suppress(ConnectionBroken):
            for piece in pieces:
                await wire.send(piece)
                await asyncio.sleep(0)

    def judge(self, number: int, got: bytes) -> None:
        """Note what must not be answered."""
        with contextlib.suppress(ConnectionBroken):
            for status, body in answers_in(got):
                self.statuses[status] += 1
                if status not in OF_REQUESTS:
                    self.failures.append(f"{number}: {status} {body!r} after {self.inputs(number)!r:.600}")


def faults_in(gateway: Gateway) -> list[str]:
    """Return the lines of the log that no client may bring about."""
    text = gateway.log.read_text()
    return [
        line
        for line in text.splitlines()
        if '"exc_info"' in line or "Traceback" in line or '"level": "ERROR"' in line or '"level": "CRITICAL"' in line
    ]


async def same_as_before(gateway: Gateway, service: Service, before: tuple[int, int, int]) -> None:
    """Check that the worker is the one it was, holds no more than it did, and answers."""
    pid, count, resident = before
    assert gateway.worker_pids() == [pid]
    await until(lambda: sockets(pid) - len(service.open) <= count, "the worker's sockets are closed")
    log.info("memory +%.1f MiB", (memory(pid) - resident) / MIB)
    assert len(service.open) <= 256
    # What the allocator keeps for the next large requests, whether they were a thousand or a hundred thousand.
    assert memory(pid) - resident < 96 * MIB


def state_of(gateway: Gateway, service: Service) -> tuple[int, int, int]:
    """Return the worker's process id, its sockets but for those to the service, and its memory."""
    (pid,) = gateway.worker_pids()
    return pid, sockets(pid) - len(service.open), memory(pid)


async def fuzz_requests(gateway: Gateway, count: int, seed: int) -> None:
    """Send that many mutated requests, and check everything."""
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
    # What the service saw is what the gateway believes to have sent: there is no request within a request.
    for entry, line in zip(gateway.wait_for_lines(*recorder.seen), recorder.seen.values(), strict=True):
        assert entry["method"] == line.split(" ")[0]


@on_a_loop(within=60)
async def test_three_thousand_mutated_requests_are_answered_or_refused(gateway: Gateway) -> None:
    await fuzz_requests(gateway, 3000, SEED)


@pytest.mark.long
@on_a_loop(within=900)
async def test_a_hundred_thousand_mutated_requests_are_answered_or_refused(gateway: Gateway) -> None:
    await fuzz_requests(gateway, share(100_000), NEW_SEED)


# Answers.


def marker(name: object) -> bytes:
    """Return what tells an answer's body from every other's, however they are mutated."""
    return b"<%s>" % hashlib.sha256(str(name).encode()).hexdigest()[:16].encode()


MARKED = re.compile(rb"<[0-9a-f]{16}>")
POISON = marker("poison")


def valid_answers(body: bytes) -> list[bytes]:
    """Return answers that are good as they are."""
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


class Answers:
    """A run of mutated answers: the service sends the one that the path's number names."""

    def __init__(self, gateway: Gateway, count: int, seed: int) -> None:
        self.gateway = gateway
        self.seed = seed
        self.numbers = iter(range(count))
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.broken = 0
        self.asked: set[bytes] = set()

    def answer(self, number: int) -> tuple[bytes, bool]:
        """Return an answer, and whether the connection is closed after it."""
        random = Random(f"{self.seed} {number}")
        data = random.choice(valid_answers(marker(number)))
        return (data if number % 10 == 0 else mutated(random, data)), random.random() < 0.7

    async def serve(self, call: Call) -> None:
        """Send the answer."""
        name = call.target.rpartition("/")[2]
        if not name.isdigit():
            await call.wire.send(answer(name.encode()))
            return
        data, close = self.answer(int(name))
        await call.wire.send(data)
        if close:
            raise ConnectionBroken

    async def run(self) -> None:
        """Ask for them all, several at a time."""
        await asyncio.gather(*(self.client(n) for n in range(PARALLEL)))

    async def client(self, nth: int) -> None:
        """Ask for one after the other, on one connection for as long as it lasts."""
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
                    self.failures.append(f"{number}: {exc!r} after {self.answer(number)!r:.400}")
                if closes:
                    wire.close()
                    wire = await Wire.to(self.gateway.port)
        finally:
            wire.close()

    async def one(self, wire: Wire, number: int) -> bool:
        """Ask for one, and judge what comes; return whether the connection ends with it."""
        reply = await wire.gets(ask(f"GET /fuzz/{number}"))
        self.statuses[reply.status] += 1
        data, _ = self.answer(number)
        if reply.status == 500 and b" 500" not in data:
            self.failures.append(f"{number}: 500 {reply.body!r} after {data!r:.400}")
        if reply.status < 200 or reply.all("X-Request-Id")[1:]:
            self.failures.append(f"{number}: {reply!r:.400} after {data!r:.400}")
        self.asked.add(marker(number))
        # The poison may have become part of the answer: then it is in it.
        others = set(MARKED.findall(reply.body)) & self.asked - {marker(number)}
        if others or (reply.body == POISON and POISON not in data):
            self.failures.append(f"{number}: the answer to another request, {reply.body!r:.100}, after {data!r:.400}")
        return reply.closes


async def fuzz_answers(gateway: Gateway, count: int, seed: int) -> None:
    """Have that many mutated answers, and check everything."""
    log.info("FUZZ_SEED=%d", seed)
    run = Answers(gateway, count, seed)
    async with Service(SERVICE, run.serve) as service:
        before = state_of(gateway, service)
        began = time.monotonic()
        await run.run()
        log.info("%d answers in %.1f s, %d broken off", count, time.monotonic() - began, run.broken)
        log.info("%s", dict(run.statuses))
        assert run.failures[:3] == []
        await same_as_before(gateway, service, before)
        # Whatever has been said on connections that are kept, it is no answer to these.
        async with await Wire.to(gateway.port) as wire:
            for name in string.ascii_lowercase:
                reply = await wire.gets(ask(f"GET /fuzz/{name}"))
                assert (reply.status, reply.body) == (200, name.encode())
    # That an answer was broken off is no fault of the gateway's, and is said.
    assert [line for line in faults_in(gateway) if "without completing the response" not in line][:3] == []


@on_a_loop(within=60)
async def test_a_thousand_mutated_answers_are_passed_on_or_refused(gateway: Gateway) -> None:
    await fuzz_answers(gateway, 1000, SEED)


@pytest.mark.long
@on_a_loop(within=900)
async def test_twenty_thousand_mutated_answers_are_passed_on_or_refused(gateway: Gateway) -> None:
    await fuzz_answers(gateway, share(20_000), NEW_SEED)
