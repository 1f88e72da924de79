"""A service that fails in every way, and the table of what a client of the gateway must receive.

The last segment of a request's path names the fault. `/faults/healthy` has none.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from tests.conformance.upstream import Ended, Reader

PATIENCE = 60
# Seconds: the gateway's deadline, how long a late response would take, and between two bytes.
TOTAL = 0.6
FAR_TOO_LONG = 20.0
PACE = 0.1

OK_BODY = b'{"ok": true}'
# More than the 64 KiB that the gateway holds before it sends a response's head.
LARGE = 100_000
# More than the buffers of the sockets on the way hold.
HUGE = 24 * 1024 * 1024

METHODS = ["GET", "POST", "PUT", "DELETE"]
ROUTES: list[dict[str, Any]] = [
    {"path": "/faults/{name}", "methods": METHODS, "service": "faulty", "allow": "public"},
    {"path": "/late/{name}", "methods": METHODS, "service": "faulty", "allow": "public", "max_body": 2 * HUGE,
     "timeouts": {"total": f"{TOTAL * 1000:.0f}ms"}},
    {"path": "/refusing", "methods": METHODS, "service": "refusing", "allow": "public"},
    {"path": "/slamming", "methods": METHODS, "service": "slamming", "allow": "public"},
    {"path": "/resetting", "methods": METHODS, "service": "resetting", "allow": "public"},
]  # fmt: skip


class Outcome(Enum):
    """What the client receives."""

    BAD_GATEWAY = "502"
    LATE = "504, as soon as the time is up"
    BROKEN = "a head that had been sent before, and then a message that is broken off"
    NEVER_WHOLE = "502 or broken off: whether the head had been sent is for the network to decide"
    ANSWER = "the answer, and nothing that does not belong to it"


@dataclass
class Talk:
    """One request, and what a fault can do to its connection."""

    socket: socket.socket
    reader: Reader
    method: str
    # Set once the client has the response's head.
    head_arrived: threading.Event
    nth: int
    connection: int
    # The connections on which another request came after a fault.
    trusted_again: list[int]

    def send(self, data: bytes) -> None:
        """Send the bytes."""
        self.socket.sendall(data)

    def trickle(self, data: bytes) -> None:
        """Send byte by byte, for far longer than the gateway waits."""
        deadline = time.monotonic() + FAR_TOO_LONG
        for index in range(len(data)):
            self.send(data[index : index + 1])
            if time.monotonic() > deadline or self.is_left(PACE):
                return

    def is_left(self, within: float = PATIENCE) -> bool:
        """Wait; return whether the gateway closes the connection."""
        self.socket.settimeout(within)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        finally:
            self.socket.settimeout(PATIENCE)
        return True

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def until_head_arrived(self) -> None:
        """Wait until the client has the response's head."""
        assert self.head_arrived.wait(PATIENCE), "the client got no head"


Behaviour = Callable[[Talk], object]


@dataclass(frozen=True)
class Fault:
    """One row: the request, the fault, and what the client must receive."""

    name: str
    behaves: Behaviour
    outcome: Outcome
    method: str = "GET"
    body: bytes = b""
    status: int = 200
    answer: bytes = OK_BODY
    # Nothing is wrong with the connection: it may be used again.
    is_sound: bool = False

    @property
    def slug(self) -> str:
        """The name as a path's segment."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())

    @property
    def target(self) -> str:
        """Where a client meets the fault."""
        late = self.outcome is Outcome.LATE or "trickle" in self.name or "silent" in self.name
        return f"/{'late' if late else 'faults'}/{self.slug}"


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return a response's head."""
    return b"\r\n".join([status, *lines]) + b"\r\n\r\n"


OK = head(b"Content-Type: application/json", b"Content-Length: %d" % len(OK_BODY)) + OK_BODY
SMALL_HEAD = head(b"Content-Length: 1000")
LARGE_HEAD = head(b"Content-Length: %d" % LARGE)
CHUNKED_HEAD = head(b"Transfer-Encoding: chunked")


def says(data: bytes) -> Behaviour:
    """Send it and leave the connection open: the gateway has to notice the fault, not the end.

    Another request on it would be a trust that the connection has lost; it is closed then, without an answer.
    """

    def behave(talk: Talk) -> None:
        talk.send(data)
        with contextlib.suppress(TimeoutError):
            if talk.socket.recv(65536):
                talk.trusted_again.append(talk.connection)

    return behave


def says_and_closes(data: bytes) -> Behaviour:
    """Send it and close."""
    return lambda talk: talk.send(data)


def says_and_resets(data: bytes) -> Behaviour:
    """Send it and close with RST, once it has been received."""

    def behave(talk: Talk) -> None:
        talk.send(data)
        talk.reset()

    return behave


def says_then(first: bytes, then: Behaviour) -> Behaviour:
    """Send something, and do the rest once the client has the headers."""

    def behave(talk: Talk) -> None:
        talk.send(first)
        talk.until_head_arrived()
        then(talk)

    return behave


def closes(talk: Talk) -> None:
    """Close."""


def resets(talk: Talk) -> None:
    """Close with RST."""
    talk.reset()


def is_silent(talk: Talk) -> None:
    """Send nothing until the gateway gives up."""
    talk.is_left()


def trickles(head: bytes, data: bytes) -> Behaviour:
    """Send the headers at once and the data slowly."""

    def behave(talk: Talk) -> None:
        talk.send(head)
        talk.trickle(data)

    return behave


def trickles_hints(talk: Talk) -> None:
    """Send 103 again and again, and a response only when it is far too late."""
    deadline = time.monotonic() + FAR_TOO_LONG
    while time.monotonic() < deadline:
        talk.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        if talk.is_left(PACE):
            return
    talk.send(OK)


def answers_then_drains(talk: Talk) -> None:
    """Respond before the body is read, end that side, and read the rest of the body."""
    talk.send(head(b"Content-Length: 2", b"Connection: close", status=b"HTTP/1.1 413 Content Too Large") + b"no")
    talk.socket.shutdown(socket.SHUT_WR)
    talk.is_left()


def never_reads(talk: Talk) -> None:
    """Leave the body unread."""
    talk.head_arrived.wait(FAR_TOO_LONG)


def malformed(name: str, *lines: bytes) -> Fault:
    """A response with malformed headers and a complete body."""
    return Fault(name, says(head(*lines, b"Content-Length: %d" % len(OK_BODY)) + OK_BODY), Outcome.BAD_GATEWAY)


def misframed(name: str, *lines: bytes, body: bytes = b"abc") -> Fault:
    """A response whose end is in doubt."""
    return Fault(name, says(head(*lines) + body), Outcome.BAD_GATEWAY)


def status_line(name: str, line: bytes) -> Fault:
    """A response with an invalid status line."""
    return Fault(name, says(head(b"Content-Length: %d" % len(OK_BODY), status=line) + OK_BODY), Outcome.BAD_GATEWAY)


FAULTS = [
    # Too late.
    Fault("is silent", is_silent, Outcome.LATE),
    Fault("is silent to a POST", is_silent, Outcome.LATE, "POST", b"x" * 1000),
    Fault("never reads a huge body", never_reads, Outcome.LATE, "POST", b"x" * HUGE),
    Fault("trickles its head", trickles(b"", OK), Outcome.LATE),
    Fault("trickles one header", trickles(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x" * 200), Outcome.LATE),
    Fault("trickles early hints", trickles_hints, Outcome.LATE),
    Fault("trickles a small body", trickles(SMALL_HEAD, b"x" * 1000), Outcome.LATE),
    Fault("is silent after the head of a small body", says(SMALL_HEAD), Outcome.LATE),
    Fault("is silent after the head of a large body", says(LARGE_HEAD + b"x" * 10), Outcome.BROKEN),
    Fault("trickles a large body", trickles(LARGE_HEAD, b"x" * 1000), Outcome.BROKEN),
    Fault("trickles chunks", trickles(CHUNKED_HEAD, b"1\r\nx\r\n" * 1000), Outcome.BROKEN),
    # Truncated.
    Fault("closes at once", closes, Outcome.BAD_GATEWAY),
    Fault("closes at once, to a POST", closes, Outcome.BAD_GATEWAY, "POST", b"x" * 1000),
    Fault("closes before a large body is there", closes, Outcome.BAD_GATEWAY, "POST", b"x" * 900_000),
    Fault("resets at once", resets, Outcome.BAD_GATEWAY),
    Fault("closes amid the status line", says_and_closes(b"HTTP/1.1 2"), Outcome.BAD_GATEWAY),
    Fault("closes after the status line", says_and_closes(b"HTTP/1.1 200 OK\r\n"), Outcome.BAD_GATEWAY),
    Fault("closes amid a header", says_and_closes(b"HTTP/1.1 200 OK\r\nContent-Type: te"), Outcome.BAD_GATEWAY),
    Fault("closes between two headers", says_and_closes(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n"), Outcome.BAD_GATEWAY),
    Fault("closes after 100 (Continue)", says_and_closes(b"HTTP/1.1 100 Continue\r\n\r\n"), Outcome.BAD_GATEWAY),
    Fault("closes before a small body", says_and_closes(SMALL_HEAD), Outcome.BAD_GATEWAY),
    Fault("closes amid a small body", says_and_closes(SMALL_HEAD + b"x" * 999), Outcome.BAD_GATEWAY),
    Fault("closes amid a body of just what is held", says_and_closes(
        head(b"Content-Length: 65536") + b"x" * 65535), Outcome.BAD_GATEWAY),
    Fault("resets amid a small body", says_and_resets(SMALL_HEAD + b"x" * 10), Outcome.BAD_GATEWAY),
    Fault("closes amid a large body", says_then(LARGE_HEAD + b"x" * 70_000, closes), Outcome.BROKEN),
    Fault("resets amid a large body", says_then(LARGE_HEAD + b"x" * 70_000, resets), Outcome.BROKEN),
    Fault("closes amid a chunk",
          says_then(CHUNKED_HEAD + b"3\r\nabc\r\n", says_and_closes(b"a\r\nabc")), Outcome.BROKEN),
    Fault("closes amid a chunk's size",
          says_then(CHUNKED_HEAD + b"3\r\nabc\r\n", says_and_closes(b"a")), Outcome.BROKEN),
    Fault("closes between two chunks", says_then(CHUNKED_HEAD + b"3\r\nabc\r\n", closes), Outcome.BROKEN),
    Fault("resets between two chunks", says_then(CHUNKED_HEAD + b"3\r\nabc\r\n", resets), Outcome.BROKEN),
    Fault("closes before the first chunk", says_and_closes(CHUNKED_HEAD), Outcome.NEVER_WHOLE),
    Fault("closes amid the first chunk", says_and_closes(CHUNKED_HEAD + b"a\r\nabc"), Outcome.NEVER_WHOLE),
    # Malformed chunks.
    Fault("a chunk's size that is not a number",
          says_then(CHUNKED_HEAD + b"3\r\nabc\r\n", says(b"xyz\r\nabc\r\n0\r\n\r\n")),
          Outcome.BROKEN),
    Fault("a negative chunk's size", says_then(CHUNKED_HEAD + b"3\r\nabc\r\n", says(b"-3\r\nabc\r\n0\r\n\r\n")),
          Outcome.BROKEN),
    Fault("a chunk longer than its size", says_then(CHUNKED_HEAD + b"3\r\nabc\r\n", says(b"3\r\nabcdef\r\n0\r\n\r\n")),
          Outcome.BROKEN),
    Fault("a first chunk's size that is not a number",
          says(CHUNKED_HEAD + b"xyz\r\nabc\r\n0\r\n\r\n"), Outcome.NEVER_WHOLE),
    # Not HTTP.
    status_line("garbage", b"\x00\x01\x02\xff hello"),
    status_line("a page without a head", b"<!DOCTYPE html><title>x</title>"),
    status_line("another protocol's banner", b"220 mail.example ESMTP"),
    status_line("the status 99", b"HTTP/1.1 99 X"),
    status_line("the status 1000", b"HTTP/1.1 1000 X"),
    status_line("the status 000", b"HTTP/1.1 000 X"),
    status_line("a status that is not a number", b"HTTP/1.1 abc X"),
    status_line("a status line without a status", b"HTTP/1.1"),
    status_line("HTTP 2", b"HTTP/2 200 OK"),
    status_line("HTTP 3.7", b"HTTP/3.7 200 OK"),
    status_line("another protocol's name", b"ICY 200 OK"),
    status_line("101 unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade"),
    # Framings that leave the end of the response in doubt.
    misframed("both a length and a coding", b"Content-Length: 3", b"Transfer-Encoding: chunked",
              body=b"3\r\nabc\r\n0\r\n\r\n"),
    misframed("both, the coding first", b"Transfer-Encoding: chunked", b"Content-Length: 13",
              body=b"3\r\nabc\r\n0\r\n\r\n"),
    misframed("two lengths that differ", b"Content-Length: 3", b"Content-Length: 4"),
    misframed("two lengths in one header", b"Content-Length: 3, 4"),
    misframed("a negative length", b"Content-Length: -3"),
    misframed("a length with a sign", b"Content-Length: +3"),
    misframed("a length that is not a number", b"Content-Length: abc"),
    misframed("a length with something after it", b"Content-Length: 3 x"),
    misframed("a length in hexadecimal", b"Content-Length: 0x3"),
    misframed("a length that is too large", b"Content-Length: 99999999999999999999999999"),
    misframed("an unknown coding", b"Transfer-Encoding: rot13"),
    misframed("a coding within chunks", b"Transfer-Encoding: gzip, chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
    misframed("chunked twice", b"Transfer-Encoding: chunked, chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
    # Malformed headers.
    malformed("a header without a colon", b"X-Custom"),
    malformed("a header without a name", b": x"),
    malformed("a space before a colon", b"X-Custom : x"),
    malformed("a space in a name", b"X Custom: x"),
    malformed("a name with invalid characters", b"X-(Custom): x"),
    malformed("a name that is not ASCII", b"X-Caf\xe9: x"),
    malformed("a NUL in a name", b"X-\x00: x"),
    malformed("a control character in a value", b"X-Custom: a\x01b"),
    malformed("a DEL in a value", b"X-Custom: a\x7fb"),
    malformed("a NUL in a value", b"X-Custom: a\x00b"),
    malformed("a carriage return in a value", b"X-Custom: a\rSet-Cookie: b=c"),
    malformed("a carriage return in a name", b"X-\rCustom: a"),
    malformed("a line feed in a value", b"X-Custom: a\nSet-Cookie: b=c"),
    malformed("a folded header", b"X-Custom: a", b" b"),
    malformed("a folded first header", b" X-Custom: a"),
    malformed("one header of more than 64 KiB", b"X-Custom: " + b"x" * 70_000),
    malformed("a head of more than 64 KiB", *(b"X-%d: " % n + b"x" * 1000 for n in range(70))),
    malformed("very many headers", *(b"X-%d: x" % n for n in range(5000))),
    Fault("a head without an end", says(b"HTTP/1.1 200 OK\r\n" + b"X-Custom: x\r\n" * 50_000), Outcome.BAD_GATEWAY),
    # More than was announced, which belongs to no response.
    Fault("a body longer than its length", says(OK + b"surplus"), Outcome.ANSWER),
    Fault("a second response without a request", says(OK + OK.replace(b"true", b"evil")), Outcome.ANSWER),
    Fault("a large body longer than its length", says(LARGE_HEAD + b"x" * LARGE + b"surplus"), Outcome.ANSWER,
          answer=b"x" * LARGE),
    Fault("something after the last chunk", says(CHUNKED_HEAD + b"3\r\nabc\r\n0\r\n\r\n" + OK), Outcome.ANSWER,
          answer=b"abc"),
    Fault("204 with a body",
          says(head(status=b"HTTP/1.1 204 No Content") + OK), Outcome.ANSWER, status=204, answer=b""),
    Fault("304 with a body", says(head(b"Content-Length: 3", status=b"HTTP/1.1 304 Not Modified") + b"abc"),
          Outcome.ANSWER, status=304, answer=b""),
    Fault("HEAD with a body", says(OK), Outcome.ANSWER, "HEAD", answer=b""),
    # Odd, but well-formed.
    Fault("HTTP 1.0 with a length", says_and_closes(head(b"Content-Length: 3", status=b"HTTP/1.0 200 OK") + b"abc"),
          Outcome.ANSWER, answer=b"abc"),
    Fault("HTTP 1.0 that ends with its connection", says_and_closes(head(status=b"HTTP/1.0 200 OK") + b"abc"),
          Outcome.ANSWER, answer=b"abc"),
    Fault("HTTP 1.0 that would stay open", says(head(b"Content-Length: 3", status=b"HTTP/1.0 200 OK") + b"abc"),
          Outcome.ANSWER, answer=b"abc"),
    Fault("a header of 30 KiB", says(head(b"X-Custom: " + b"x" * 30_000, b"Content-Length: 3") + b"abc"),
          Outcome.ANSWER, answer=b"abc", is_sound=True),
    Fault("a response before the body is read", answers_then_drains, Outcome.ANSWER, "POST", b"x" * 900_000,
          status=413, answer=b"no"),
]  # fmt: skip

BY_SLUG = {fault.slug: fault for fault in FAULTS}


@dataclass
class FaultyService:
    """The service, in threads of this process. `seen` are method, fault and connection of each request."""

    seen: list[tuple[str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.head_arrived = threading.Event()
        self.changed = threading.Condition()
        self.open: set[int] = set()
        self.sockets: set[socket.socket] = set()
        self.trusted_again: list[int] = []
        # How many requests wait for each other, and the requests that do.
        self.meeting = threading.Barrier(1)
        self.extra: dict[str, Behaviour] = {
            "healthy": lambda talk: talk.send(OK),
            "closes-after-the-answer": lambda talk: talk.send(OK),
            "stale": lambda talk: talk.nth == 1 and talk.send(OK),
            "together": lambda talk: (self.meeting.wait(PATIENCE), talk.send(OK)),
        }

    def __enter__(self) -> Self:
        self.listeners = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(3)]
        # Bound, but not listening.
        self.unused = socket.socket()
        self.unused.bind(("127.0.0.1", 0))
        behaviours = [self.serve, lambda connection, number: connection.close(), self.slam]
        self.threads = [
            threading.Thread(target=self.accept, args=(listener, behaviour), name=f"faults {listener.getsockname()[1]}")
            for listener, behaviour in zip(self.listeners, behaviours, strict=True)
        ]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.head_arrived.set()
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
        for thread in self.threads[:3]:
            thread.join(PATIENCE)
        for listener in [*self.listeners, self.unused]:
            listener.close()
        with self.changed:
            for connection in self.sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads[3:]:
            thread.join(PATIENCE)

    def services(self) -> dict[str, Any]:
        """Return it as `services` of gateway.yaml."""
        ports = [one.getsockname()[1] for one in [*self.listeners, self.unused]]
        names = ["faulty", "slamming", "resetting", "refusing"]
        return {
            name: {"url": f"http://127.0.0.1:{port}", "timeouts": {"total": "30s"}, "eject": {"most": "0%"}}
            for name, port in zip(names, ports, strict=True)
        }

    def begin(self) -> None:
        """Forget what was seen."""
        self.head_arrived.clear()
        with self.changed:
            self.seen = []
            self.trusted_again = []

    def accept(self, listener: socket.socket, behaviour: Callable[[socket.socket, int], None]) -> None:
        """Serve each connection in a thread."""
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            number += 1
            thread = threading.Thread(target=behaviour, args=(connection, number), name=f"fault {number}")
            self.threads.append(thread)
            thread.start()

    @staticmethod
    def slam(connection: socket.socket, number: int) -> None:
        """Close with RST before anything is read."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def serve(self, connection: socket.socket, number: int) -> None:
        """Read requests and fail as their paths require, until a fault ends the connection."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.kept(connection, number), contextlib.suppress(Ended, OSError):
            reader = Reader(connection)
            nth = 0
            while self.fail(reader, number, nth := nth + 1):
                pass

    @contextlib.contextmanager
    def kept(self, connection: socket.socket, number: int) -> Iterator[None]:
        """Record the connection while it is open."""
        with self.changed:
            self.sockets.add(connection)
            self.open.add(number)
        try:
            with connection:
                yield
        finally:
            with self.changed:
                self.sockets.discard(connection)
                self.open.discard(number)
                self.changed.notify_all()

    def fail(self, reader: Reader, connection: int, nth: int) -> bool:
        """Read a request and cause the fault of its path; return whether the connection stays open."""
        line, headers = reader.head()
        method, target, _ = line.split(" ")
        slug = target.rpartition("/")[2]
        said = {name.lower(): value for name, value in headers}
        fault = BY_SLUG.get(slug)
        # Large bodies are left unread: whether they are is a part of those faults.
        if "transfer-encoding" in said and not (fault and fault.body):
            reader.body("chunked", 0)
        elif int(said.get("content-length", 0)) < LARGE:
            reader.exactly(int(said.get("content-length", 0)))
        with self.changed:
            self.seen.append((method, slug, connection))
        behaviour = fault.behaves if fault else self.extra[slug]
        behaviour(Talk(reader.socket, reader, method, self.head_arrived, nth, connection, self.trusted_again))
        return slug in {"healthy", "together"} or (slug == "stale" and nth == 1)

    def wait_until_closed(self, connection: int) -> None:
        """Return once the connection has been closed."""
        with self.changed:
            assert self.changed.wait_for(lambda: connection not in self.open, PATIENCE)
