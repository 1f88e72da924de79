"""Requests as services get them: bodies that are held while they are small, and HTTP/1.1 framing."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from gateway.config import Policies, Timeouts
from gateway.memory import Holding, Memory
from gateway.policy.headers import TIME_LEFT, Headers, values
from gateway.policy.prepared_routes import PreparedTimeouts
from gateway.policy.rejections import ContentTooLarge, MemoryFull, RequestTimeout

from .responses import WHOLE

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# RFC 9110, section 9.2.2.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
IDEMPOTENCY_KEY: Final = re.compile(rb"^idempotency-key: *[^ \r]", re.IGNORECASE | re.MULTILINE)
# Their requests have a length even if it is 0 (RFC 9110, section 8.6).
WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
LAST_CHUNK: Final = b"0\r\n\r\n"
# Bytes of a body that are received before a service or a thread gets the request.
HELD: Final = 1024 * 1024
# Encoded values of `TIME_LEFT`: each route's `total`, and some of the requests that had to wait.
MAX_CACHED: Final = 256


class Body:
    """A request's body: its beginning is held, all of a small one; the rest is received when it is needed.

    `length` is `None` if the body is chunked; the route takes at most `most` bytes. Held bytes of a body that is not
    small count in `memory`; `give_way` ends its request if there is no room.
    """

    __slots__ = (
        "beginning", "give_way", "holding", "is_replayed", "is_whole", "length", "memory", "most", "receive", "size",
    )  # fmt: skip

    def __init__(
        self,
        receive: Receive,
        length: int | None,
        most: int,
        memory: Memory | None = None,
        give_way: Callable[[], None] | None = None,
    ) -> None:
        self.receive = receive
        self.length = length
        self.most = most
        self.memory = memory
        self.give_way = give_way
        self.holding: Holding | None = None
        self.beginning: bytes | bytearray = b""
        self.is_replayed = False
        self.size = 0
        self.is_whole = length == 0

    @classmethod
    def of(cls, content: bytes) -> "Body":
        body = cls(nothing_more, len(content), len(content))
        body.beginning = content
        body.is_whole = True
        return body

    async def begin(self) -> None:
        """Receive all of it, or of a larger one the first `HELD` bytes, before the service gets the request.

        Raises `ContentTooLarge`, `RequestTimeout` or `MemoryFull`.
        """
        if self.length is not None and self.length > self.most:
            raise ContentTooLarge(self.most)
        if self.length == 0:
            return
        self.beginning = piece = await self.piece()
        if self.is_whole and len(piece) <= WHOLE:
            return
        if self.memory:
            self.holding = Holding(self.memory, self.give_way)
            self.holding.add(len(piece))
        while not self.is_whole and self.size <= HELD:
            self.hold(await self.piece())
        if self.holding:
            self.holding.settle()

    def hold(self, piece: bytes) -> None:
        """Keep a piece; many small ones are joined, as each costs more than it holds."""
        if self.holding:
            self.holding.add(len(piece))
        if isinstance(self.beginning, bytes):
            self.beginning = bytearray(self.beginning)
        self.beginning += piece

    def release(self) -> None:
        """Drop what is held: the service has it, or the request has ended."""
        self.beginning = b""
        if self.holding:
            self.holding.release()
            self.holding = None

    async def replay(self) -> MutableMapping[str, Any]:
        """Return what is held, then the rest as it comes, as ASGI's `receive` does; raise as `piece` does."""
        if self.is_replayed:
            return {"type": "http.request", "body": await self.piece(), "more_body": not self.is_whole}
        self.is_replayed = True
        return {"type": "http.request", "body": self.beginning, "more_body": not self.is_whole}

    async def piece(self) -> bytes:
        """Return more of it; raise `ContentTooLarge`, `RequestTimeout` or `MemoryFull`."""
        if self.size > self.most:
            raise ContentTooLarge(self.most)
        message = await self.receive()
        if message["type"] == "http.disconnect":
            # The client was too slow. If it had left, this task would be cancelled.
            raise MemoryFull if self.holding and self.holding.gave_way else RequestTimeout
        piece: bytes = message.get("body", b"")
        self.size += len(piece)
        if self.size > self.most:
            raise ContentTooLarge(self.most)
        self.is_whole = not message.get("more_body", False)
        return piece


async def nothing_more() -> MutableMapping[str, Any]:
    """Return ASGI's message for a client that left: a complete body has no more."""
    return {"type": "http.disconnect"}


NO_BODY: Final = Body.of(b"")


@dataclass(slots=True, eq=False)
class UpstreamRequest:
    """A request for a service, without `Host` and the body's framing, which are added here."""

    service: str
    method: str
    target: str
    headers: Headers
    body: Body
    timeouts: Timeouts | PreparedTimeouts
    # Whether it is a WebSocket's handshake that the service may accept.
    is_handshake: bool = False
    # The value of `Host`, if it is not the service's own address.
    host: str | None = None
    # Further headers, encoded.
    block: bytes = b""
    # Seconds in which the service must respond, if a part of `timeouts.total` has passed.
    time_left: float | None = None
    # Of its route; a request of the gateway itself has none.
    policies: Policies | None = None

    def message(self, authority: str, base: str = "") -> tuple[bytes, bytes | bytearray]:
        """Return the head with what is held of the body, and a large body apart, so that it is not copied."""
        body = self.body
        time_left = time_left_line(self.time_left or self.timeouts.total)
        text = f"{self.method} {base}{self.target} HTTP/1.1\r\nhost: {self.host or authority}\r\n{time_left}"
        for name, value in self.headers:
            text += f"{name}: {value}\r\n"
        if self.is_handshake:
            text += "upgrade: websocket\r\nconnection: Upgrade\r\n"
        length = len(body.beginning) if body.is_whole else body.length
        if length is None:
            text += "transfer-encoding: chunked\r\n"
            return b"%b%b\r\n%b" % (text.encode("latin-1"), self.block, chunk(body.beginning)), b""
        if length or self.method in WITH_BODY:
            text += f"content-length: {length}\r\n"
        if len(body.beginning) <= WHOLE:
            return b"".join((text.encode("latin-1"), self.block, b"\r\n", body.beginning)), b""
        return b"%b%b\r\n" % (text.encode("latin-1"), self.block), body.beginning

    @property
    def is_repeatable(self) -> bool:
        return self.method in IDEMPOTENT and self.body.is_whole

    @property
    def has_idempotency_key(self) -> bool:
        return any(values(self.headers, "idempotency-key")) or IDEMPOTENCY_KEY.search(self.block) is not None


@lru_cache(MAX_CACHED)
def time_left_line(seconds: float) -> str:
    """Return the header with which a service learns how long the gateway waits for its response."""
    return f"{TIME_LEFT}: {max(1, round(seconds * 1000))}\r\n"


def chunk(piece: bytes | bytearray) -> bytes:
    """Return the piece as a chunk (RFC 9112, section 7.1); nothing for nothing, which would be the last one."""
    return b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if piece else b""
