"""Responses as a client gets them: HTTP/1.1, framed by a length, in chunks, or by the connection's end."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from chassis.statuses import reason_phrase
from gateway.upstreams import HeaderBlock

from .messages import RequestMessage
from .patience import Patience

STATUS_LINES: Final[dict[int, bytes]] = {
    status: f"HTTP/1.1 {status:d} {reason_phrase(status)}".encode() for status in HTTPStatus
}
BODILESS: Final = frozenset({204, 304})


class Clock:
    """The `Date` header for responses without one (RFC 9110, section 6.6.1), formatted once a second."""

    def __init__(self) -> None:
        self.second = 0
        self.line = b""

    def date(self) -> bytes:
        now = int(time.time())
        if now != self.second:
            self.second = now
            self.line = f"date: {formatdate(now, usegmt=True)}\r\n".encode()
        return self.line


CLOCK: Final = Clock()


class ResponseWriter:
    """Frames one response. Its head is sent with the first piece of its body."""

    __slots__ = ("bodiless", "chunked", "finished", "head", "keep_alive", "patience", "remaining", "sent")

    def __init__(
        self,
        status: int,
        block: HeaderBlock,
        request_id: str | None,
        message: RequestMessage | None,
        *,
        alive: bool,
        more: bytes = b"",
    ) -> None:
        """Compose the head. `alive` says whether the connection may be kept; `more` are lines like the block's."""
        http_1_1 = message is None or message.http_1_1
        # Bytes of the body that are still to be sent, if its length is known.
        self.remaining = block.length
        self.bodiless = (message is not None and message.method == "HEAD") or status in BODILESS
        self.chunked = block.length is None and not self.bodiless and http_1_1
        # Whether another request may follow. RFC 9112, section 9.6: nothing can follow a request that was not received
        # to its end.
        self.keep_alive = (
            alive and message is not None and message.keep_alive and (message.body is None or message.body.is_complete)
        )
        self.finished = False
        # Bytes of the body that were written.
        self.sent = 0
        # The clock, once the client is waited for.
        self.patience: Patience | None = None
        lines = STATUS_LINES.get(status) or f"HTTP/1.1 {status} ".encode(), block.lines, more
        own = f"\r\nx-request-id: {request_id}\r\n" if request_id is not None else "\r\n"
        if self.chunked:
            own += "transfer-encoding: chunked\r\n"
        if not self.keep_alive:
            own += "connection: close\r\n"
        # The parts of the head; none once they are sent.
        self.head = [*lines, own.encode(), b"\r\n" if block.has_date else CLOCK.date() + b"\r\n"]

    @property
    def shows_its_end(self) -> bool:
        """Whether a client can tell a complete response from one that the connection's end cuts off."""
        return self.remaining is not None or self.chunked

    def frame(self, piece: bytes, *, more: bool) -> list[bytes]:
        """Return what is sent for a piece of the body, which is truncated to the response's length."""
        size = len(piece)
        if self.bodiless:
            piece, size = b"", 0
        elif self.remaining is not None:
            if size > self.remaining:
                piece, size = piece[: self.remaining], self.remaining
            self.remaining -= size
        self.sent += size
        self.finished = not more and (self.bodiless or not self.remaining)
        parts, self.head = self.head, []
        if self.chunked:
            if piece:
                parts += (b"%x\r\n" % size, piece, b"\r\n")
            if not more:
                parts.append(b"0\r\n\r\n")
        elif piece:
            parts.append(piece)
        return parts

    def take_head(self) -> bytes:
        head, self.head = b"".join(self.head), []
        return head
