"""A strict HTTP/1.1 client on a raw socket: sends the given bytes unchanged, and accepts only well-formed responses.

Exception
└── ConnectionBroken        the connection ended, or went silent, within a response
    ProtocolViolation       the response is not well-formed HTTP/1.1 (RFC 9112)
"""

import json
import re
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Headers = list[tuple[str, str]]
Framing = Literal["none", "length", "chunked", "close"]

# Seconds in which something has to come, on a busy machine too: more than any deadline of the gateways under test, and
# less than the 75 s after which they close an idle connection.
PATIENCE = 45
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


class ConnectionBroken(Exception):  # noqa: N818  # an outcome that tests expect
    """The connection ended, or nothing came for too long, before the response was complete."""


class ProtocolViolation(Exception):  # noqa: N818  # as RFC 9112 has it
    """The response is not well-formed HTTP/1.1."""


@dataclass
class Head:
    """What comes before a body. Header values are latin-1."""

    version: str
    status: int
    reason: str
    headers: Headers

    def all(self, name: str) -> list[str]:
        """Return the header's values, in order."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Return the header's value, repeated ones joined as RFC 9110, section 5.2 says; `None` without it."""
        values = self.all(name)
        return ", ".join(values) if values else None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this response (RFC 9112, section 9.3)."""
        options = {option.strip().lower() for option in (self.get("Connection") or "").split(",")}
        return "close" in options or (self.version == "1.0" and "keep-alive" not in options)


@dataclass
class Reply(Head):
    """A whole response, and the 1xx that came before it."""

    body: bytes = b""
    framing: Framing = "none"
    interim: list[Head] = field(default_factory=list)

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


class Client:
    """One connection. `reply` raises `ConnectionBroken` or `ProtocolViolation`. Use it as a context manager."""

    def __init__(self, port: int, patience: float = PATIENCE) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.patience = patience
        self.buffer = b""
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send the bytes, as many as the peer reads: it may respond and close before the last."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except TimeoutError as exc:
            raise ConnectionBroken("The peer takes no more bytes.") from exc

    def finish(self) -> None:
        """Close the sending direction."""
        self.socket.shutdown(socket.SHUT_WR)

    def more(self) -> bool:
        """Receive; return whether anything came before the end."""
        if self.ended:
            return False
        try:
            data = self.socket.recv(262_144)
        except TimeoutError as exc:
            raise ConnectionBroken(f"Nothing came for {self.patience} s after {self.buffer[-200:]!r}.") from exc
        except ConnectionResetError:
            data = b""
        self.ended = not data
        self.buffer += data
        return bool(data)

    def exactly(self, size: int) -> bytes:
        """Return the next bytes."""
        parts = [self.buffer]
        missing = size - len(self.buffer)
        while missing > 0:
            self.buffer = b""
            if not self.more():
                raise ConnectionBroken(f"The connection ended {missing} bytes early.")
            parts.append(self.buffer)
            missing -= len(self.buffer)
        whole = b"".join(parts)
        self.buffer = whole[size:]
        return whole[:size]

    def line(self) -> bytes:
        """Return the next line, which has to end with CRLF."""
        while b"\n" not in self.buffer:
            if not self.more():
                raise ConnectionBroken(f"The connection ended in the line {self.buffer[:200]!r}.")
        line, _, self.buffer = self.buffer.partition(b"\n")
        if not line.endswith(b"\r") or b"\r" in line[:-1]:
            raise ProtocolViolation(f"Expected a line that ends with CRLF, got {line!r}.")
        return line[:-1]

    def fields(self) -> Headers:
        """Return the header or trailer lines up to the empty one."""
        headers = []
        while line := self.line():
            name, colon, value = line.partition(b":")
            if not (colon and NAME.fullmatch(name) and VALUE.fullmatch(value)):
                raise ProtocolViolation(f"Expected a header line, got {line!r}.")
            headers.append((name.decode(), value.strip(b" \t").decode("latin-1")))
        return headers

    def one_head(self) -> Head:
        """Return the next head, also one of 1xx."""
        line = self.line()
        found = STATUS_LINE.fullmatch(line)
        if found is None:
            raise ProtocolViolation(f"Expected a status line, got {line!r}.")
        return Head(f"1.{found[1].decode()}", int(found[2]), found[3].decode("latin-1"), self.fields())

    def head(self) -> Reply:
        """Return the final response's head, its body not read yet."""
        interim = []
        while (head := self.one_head()).status < 200:
            if head.status == 101:
                raise ProtocolViolation("101 without having been asked to upgrade.")
            if head.get("Content-Length") or head.get("Transfer-Encoding"):
                raise ProtocolViolation("A 1xx has no body.")
            interim.append(head)
        return Reply(**vars(head), interim=interim)

    def reply(self, method: str = "GET") -> Reply:
        """Return the next whole response to a request with that method."""
        return self.body_of(self.head(), method)

    def body_of(self, reply: Reply, method: str = "GET") -> Reply:
        """Return the response whose head `head` has returned, with its body."""
        reply.framing = framing(reply, method)
        if reply.framing == "length":
            reply.body = self.exactly(int(reply.all("Content-Length")[0]))
        elif reply.framing == "chunked":
            reply.body = self.chunks()
        elif reply.framing == "close":
            reply.body = self.rest()
        return reply

    def chunks(self) -> bytes:
        """Return the body of a chunked answer; the gateway sends no trailers."""
        parts = []
        while True:
            line = self.line()
            size = CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise ProtocolViolation(f"Expected a chunk's size, got {line!r}.")
            if int(size[1], 16) == 0:
                break
            parts.append(self.exactly(int(size[1], 16)))
            if end := self.line():
                raise ProtocolViolation(f"Expected the end of a chunk, got {end!r}.")
        if trailers := self.fields():
            raise ProtocolViolation(f"Expected no trailers, got {trailers}.")
        return b"".join(parts)

    def rest(self) -> bytes:
        """Return everything up to the end of the connection."""
        parts = [self.buffer]
        self.buffer = b""
        while self.more():
            parts.append(self.buffer)
            self.buffer = b""
        return b"".join(parts)

    def ends(self, within: float = PATIENCE) -> bool:
        """Return whether the peer closes the connection, without sending more, within that many seconds."""
        deadline = time.monotonic() + within
        try:
            while not self.buffer and time.monotonic() < deadline:
                self.socket.settimeout(max(0.01, deadline - time.monotonic()))
                if not self.more():
                    return True
        except ConnectionBroken:
            pass
        finally:
            self.socket.settimeout(self.patience)
        return False


def framing(reply: Head, method: str) -> Framing:
    """Return how the response's body is framed (RFC 9112, section 6.3); raise `ProtocolViolation` if that is in doubt.

    A 204 says no length at all, a 304 and an answer to HEAD may say that of a 200 to GET.
    """
    lengths, codings = reply.all("Content-Length"), reply.all("Transfer-Encoding")
    if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
        raise ProtocolViolation(f"Expected one framing, got {lengths} and {codings}.")
    if lengths and not re.fullmatch("[0-9]+", lengths[0]):
        raise ProtocolViolation(f"Expected a length, got {lengths[0]!r}.")
    if codings and (codings[0].lower() != "chunked" or reply.version == "1.0"):
        raise ProtocolViolation(f"Expected no transfer coding but chunked, and that in HTTP/1.1, got {codings[0]!r}.")
    if reply.status == 204 and (lengths or codings):
        raise ProtocolViolation("A 204 has no body, so no length of it.")
    if method == "HEAD" or reply.status in {204, 304}:
        return "none"
    if codings:
        return "chunked"
    if lengths:
        return "length"
    if not reply.closes:
        raise ProtocolViolation("An answer without a framing has to end with the connection.")
    return "close"


def once(port: int, request: bytes, patience: float = PATIENCE) -> Reply:
    """Send one request on a connection of its own and return the response."""
    with Client(port, patience) as client:
        client.send(request)
        return client.reply(request.partition(b" ")[0].decode())
