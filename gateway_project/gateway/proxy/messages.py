"""A client's requests as they are received."""

import asyncio
from typing import TYPE_CHECKING, Final

from .patience import Patience

if TYPE_CHECKING:
    from .header_blocks import KnownBlock

# Bytes of a body, or of further requests, that wait here before the client's connection is no longer read.
HIGH_WATER: Final = 256 * 1024
# Bytes: smaller pieces of a body are joined, as an object costs more than its content.
SMALL: Final = 4 * 1024


class BodyBuffer:
    """What was received of a request's body, and is not read yet."""

    __slots__ = (
        "buffered", "chunks", "expect_continue", "is_complete", "length", "patience", "received", "remaining",
        "timed_out", "waiter",
    )  # fmt: skip

    def __init__(self, length: int | None, *, expect_continue: bool) -> None:
        # `None` if the body is chunked.
        self.length = length
        self.chunks: list[bytes | bytearray] = []
        self.buffered = self.received = 0
        # Bytes that are still to come, if the length is known.
        self.remaining = length or 0
        # The client waits for a 100.
        self.expect_continue = expect_continue
        self.is_complete = self.timed_out = False
        # The clock, once more is waited for.
        self.patience: Patience | None = None
        self.waiter: asyncio.Future[None] | None = None

    def add(self, piece: bytes) -> None:
        self.expect_continue = False
        size = len(piece)
        self.buffered += size
        self.received += size
        self.remaining -= size
        if self.chunks and size < SMALL:
            last = self.chunks[-1]
            if isinstance(last, bytearray):
                last += piece
                return
            self.chunks.append(bytearray(piece))
        else:
            self.chunks.append(piece)

    def take(self) -> bytes:
        first = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks = []
        self.buffered = 0
        return first if isinstance(first, bytes) else bytes(first)

    def time_out(self) -> None:
        """Wait no longer for the rest: not even a thread of Django's, which cannot be cancelled."""
        self.timed_out = True
        self.wake()

    def wake(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)


class RequestMessage:
    """A parsed request; `body` may still be on its way, and is `None` if there is none."""

    __slots__ = ("body", "fields", "http_1_1", "keep_alive", "known", "method", "target")

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.http_1_1 = self.keep_alive = False
        self.body: BodyBuffer | None = None
        # The header block, if it is remembered.
        self.known: KnownBlock | None = None

    @property
    def is_complete(self) -> bool:
        return self.body is None or self.body.is_complete
