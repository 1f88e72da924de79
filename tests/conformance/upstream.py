"""A service that records exactly what it receives, and responds with exactly the given bytes."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

Framing = Literal["none", "length", "chunked"]
PATIENCE = 60
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/1\.1")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")


@dataclass
class Seen:
    """A whole request. Header values are latin-1; `connection` counts the connections, `nth` its requests."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    framing: Framing
    connection: int
    nth: int

    @property
    def method(self) -> str:
        """The request line's first word."""
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        """The request line's second word."""
        return self.line.split(" ")[1]

    def all(self, name: str) -> list[str]:
        """Return the header's values, in order."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Return the header's value, repeated ones joined by a comma; `None` without it."""
        values = self.all(name)
        return ",".join(values) if values else None


@dataclass(frozen=True)
class Answer:
    """A response: `raw` unchanged, in pieces of `step` bytes; `early` sends it before the request's body is read."""

    raw: bytes
    close: bool = False
    step: int = 0
    early: bool = False


Answers = Sequence[Answer] | Callable[[Seen], Answer]


class Ended(Exception):  # noqa: N818  # an outcome: connections end
    """The peer has closed the connection."""


class Malformed(Exception):  # noqa: N818  # what is recorded, not an error of the program
    """The gateway sent something that is not a valid HTTP/1.1 request."""


@dataclass
class Reader:
    """A connection, read strictly."""

    socket: socket.socket
    buffer: bytes = b""

    def more(self) -> None:
        """Receive something."""
        data = self.socket.recv(262_144)
        if not data:
            raise Ended
        self.buffer += data

    def until(self, end: bytes) -> bytes:
        """Return what comes before `end`, and consume both."""
        while end not in self.buffer:
            self.more()
        found, _, self.buffer = self.buffer.partition(end)
        return found

    def exactly(self, size: int) -> bytes:
        """Return that many bytes."""
        parts, missing = [self.buffer], size - len(self.buffer)
        while missing > 0:
            self.buffer = b""
            self.more()
            parts.append(self.buffer)
            missing -= len(self.buffer)
        whole = b"".join(parts)
        self.buffer = whole[size:]
        return whole[:size]

    def head(self) -> tuple[str, list[tuple[str, str]]]:
        """Return the request line and the headers; raise `Malformed`."""
        line, *lines = self.until(b"\r\n\r\n").split(b"\r\n")
        if not REQUEST_LINE.fullmatch(line):
            raise Malformed(f"Expected a request line, got {line!r}.")
        headers = []
        for header in lines:
            found = HEADER.fullmatch(header)
            if found is None:
                raise Malformed(f"Expected a header, got {header!r}.")
            headers.append((found[1].decode(), found[2].decode("latin-1")))
        return line.decode(), headers

    def body(self, framing: Framing, length: int) -> bytes:
        """Return the body, without its framing."""
        if framing == "length":
            return self.exactly(length)
        if framing == "none":
            return b""
        parts = []
        while size := int(self.until(b"\r\n").partition(b";")[0], 16):
            parts.append(self.exactly(size))
            if self.exactly(2) != b"\r\n":
                raise Malformed("Expected the end of a chunk.")
        if self.until(b"\r\n"):
            raise Malformed("Expected no trailers.")
        return b"".join(parts)


def framed(headers: list[tuple[str, str]]) -> tuple[Framing, int]:
    """Return how the request's body is framed, and its length if there is one; raise `Malformed`."""
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    codings = [value for name, value in headers if name.lower() == "transfer-encoding"]
    hosts = [value for name, value in headers if name.lower() == "host"]
    if len(lengths) + len(codings) > 1 or len(hosts) != 1:
        raise Malformed(f"Expected one Host and one framing, got {hosts}, {lengths} and {codings}.")
    if codings:
        if codings != ["chunked"]:
            raise Malformed(f"Expected no coding but chunked, got {codings}.")
        return "chunked", 0
    if lengths:
        if not re.fullmatch("[0-9]+", lengths[0]):
            raise Malformed(f"Expected a length, got {lengths}.")
        return "length", int(lengths[0])
    return "none", 0


@dataclass
class Upstream:
    """The service, on a port of its own, in threads of this process. Use it as a context manager."""

    seen: list[Seen] = field(default_factory=list)
    # Request lines of requests that are not complete.
    begun: list[str] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self.listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.answers: Answers = ()
        self.given = 0
        self.busy = 0
        self.idle = threading.Condition()
        self.sockets: set[socket.socket] = set()
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.threads.append(threading.Thread(target=self.accept, name="upstream"))
        self.threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.threads[0].join(PATIENCE)
        self.listener.close()
        with self.idle:
            for connection in self.sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads[1:]:
            thread.join(PATIENCE)

    def begin(self, answers: Answers) -> None:
        """Forget what was seen; answer from now on with these, in turn, the last one for all that come after it.

        First waits until no request is under way that belongs to what came before.
        """
        deadline = time.monotonic() + PATIENCE
        with self.idle:
            while self.busy:
                assert self.idle.wait(deadline - time.monotonic()), f"still under way: {self.begun}"
            self.answers, self.given = answers, 0
            self.seen, self.begun, self.malformed = [], [], []

    def accept(self) -> None:
        """Serve each connection in a thread."""
        number = 0
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            number += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.idle:
                self.sockets.add(connection)
            thread = threading.Thread(target=self.serve, args=(connection, number), name=f"upstream {number}")
            self.threads.append(thread)
            thread.start()

    def serve(self, connection: socket.socket, number: int) -> None:
        """Respond to requests until either side closes."""
        reader = Reader(connection)
        nth = 0
        with connection, contextlib.suppress(Ended, OSError):
            while True:
                nth += 1
                if not reader.buffer:
                    reader.more()
                with self.under_way():
                    if self.answer(reader, number, nth).close:
                        break
        with self.idle:
            self.sockets.discard(connection)

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a request as under way."""
        with self.idle:
            self.busy += 1
        try:
            yield
        finally:
            with self.idle:
                self.busy -= 1
                self.idle.notify_all()

    def answer(self, reader: Reader, connection: int, nth: int) -> Answer:
        """Read one request and respond."""
        try:
            line, headers = reader.head()
            framing, length = framed(headers)
            self.begun.append(line)
            early = self.answers[0] if isinstance(self.answers, Sequence) and self.answers[0].early else None
            if early:
                self.write(reader.socket, early)
            body = reader.body(framing, length)
        except (Malformed, ValueError) as exc:
            self.malformed.append(str(exc))
            raise Ended from exc
        seen = Seen(line, headers, body, framing, connection, nth)
        with self.idle:
            self.seen.append(seen)
            self.begun.remove(line)
            answer = early or self.answer_to(seen)
        if not early:
            self.write(reader.socket, answer)
        return answer

    def answer_to(self, seen: Seen) -> Answer:
        """Return the next response."""
        if callable(self.answers):
            return self.answers(seen)
        answer = self.answers[min(self.given, len(self.answers) - 1)]
        self.given += 1
        return answer

    @staticmethod
    def write(connection: socket.socket, answer: Answer) -> None:
        """Send the bytes."""
        step = answer.step or len(answer.raw) or 1
        for start in range(0, len(answer.raw), step):
            connection.sendall(answer.raw[start : start + step])
