"""Answers as a client gets them: HTTP/1.1, framed by a length, in chunks, or by the connection's end."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from chassis.statuses import reason_phrase

from .incoming import RequestMessage
from .patience import Patience

STATUS_LINES: Final[dict[int, bytes]] = {
    status: f"HTTP/1.1 {status:d} {reason_phrase(status)}\r\n".encode() for status in HTTPStatus
}
WITHOUT_BODY: Final = frozenset({204, 304})
# What the connection says itself.
FRAMING: Final = frozenset({b"connection", b"transfer-encoding"})


class Clock:
    """The `Date` of answers that bring none (RFC 9110, section 6.6.1), made once a second."""

    def __init__(self) -> None:
        self.second = 0
        self.line = b""

    def date(self) -> bytes:
        """Return the header line."""
        now = int(time.time())
        if now != self.second:
            self.second = now
            self.line = f"date: {formatdate(now, usegmt=True)}\r\n".encode()
        return self.line


CLOCK: Final = Clock()


class Answer:
    """One answer: its head goes out with the first piece of its body."""

    __slots__ = ("chunked", "finished", "head", "left", "patience", "sent", "silent", "started")

    def __init__(self) -> None:
        self.started = self.finished = False
        self.head = b""
        # Bytes of the body that are still to come, where its length is known.
        self.left: int | None = None
        self.chunked = self.silent = False
        # Bytes of the body that were written.
        self.sent = 0
        # The clock, once the client is waited for.
        self.patience: Patience | None = None

    @property
    def is_half(self) -> bool:
        """Whether it has begun and not ended."""
        return self.started and not self.finished

    @property
    def shows_its_end(self) -> bool:
        """Whether a client can tell that there is more to come when the connection closes."""
        return self.left is not None or self.chunked

    def begin(
        self, status: int, headers: list[tuple[bytes, bytes]], request: RequestMessage | None, *, alive: bool
    ) -> None:
        """Make the head. Whether the connection stays is the request's `keeps` from here on."""
        lines = [STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
        dated = False
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-length":
                # RFC 9110, section 8.6.
                if status == 204:
                    continue
                self.left = int(value)
            elif lower == b"date":
                dated = True
            elif lower in FRAMING:
                continue
            lines += (name, b": ", value, b"\r\n")
        if not dated:
            lines.append(CLOCK.date())
        modern = request is None or request.modern
        self.silent = (request is not None and request.method == "HEAD") or status in WITHOUT_BODY
        self.chunked = self.left is None and not self.silent and modern
        if self.chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        # RFC 9112, section 9.6: where the request has not been read to its end, nothing can follow it.
        keeps = request is not None and request.keeps and request.complete and alive
        if request is not None:
            request.keeps = keeps
            request.expects = False
        if not keeps:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.head = b"".join(lines)
        self.started = True

    def frame(self, piece: bytes, *, more: bool) -> tuple[bytes, bytes, bytes]:
        """Return what goes out before a piece of the body, the piece, and what goes out after it.

        What is more than the answer's length is no part of it.
        """
        if self.silent:
            piece = b""
        elif self.left is not None:
            piece = piece[: self.left]
            self.left -= len(piece)
        self.sent += len(piece)
        before, after = self.take_head(), b""
        if self.chunked:
            if piece:
                before += b"%x\r\n" % len(piece)
                after = b"\r\n"
            if not more:
                after += b"0\r\n\r\n"
        self.finished = not more and (self.silent or not self.left)
        return before, piece, after

    def take_head(self) -> bytes:
        """Return the head, once."""
        head, self.head = self.head, b""
        return head
