"""One connection to a service: one exchange at a time, every wait under a deadline.

Framing. The end of a response follows from its headers (RFC 9112, section 6.3): from no body at all,
`chunked`, `Content-Length`, or the close of the connection. A response that leaves its end open to
interpretation, or is not valid HTTP, is an `UpstreamError`, and the client gets none of it. Parsing is
strict (`httptools`, which is Node's llhttp), since a message that two parsers read differently can be
an attack (RFC 9112, section 11).

A connection in doubt is not used again. It is reusable only after a whole response and a whole request,
and without a surplus byte. Otherwise the rest of one response could be read as the beginning of the
next, and one client would get the response of another. A service may also close an idle connection
just as the next request is sent (RFC 9112, section 9.3.1). If it does so before the first byte of a
response, `ClosedBeforeResponse` lets the caller repeat the request once on a new connection, if it is
safe to repeat.
"""

import asyncio
import os
import select
from contextlib import suppress
from typing import Final, Protocol, cast

import httptools

from gateway.deadlines import Deadline
from gateway.policy import locations
from gateway.policy.headers import Headers, from_upstream, values, varying_by_accept
from gateway.policy.rejections import (
    InvalidUpstreamResponse,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamTimeout,
)


class Head:
    """A response's parsed head; raises `InvalidUpstreamResponse` if it is malformed or its framing is ambiguous.

    `silent` says that no body comes, whatever the head says of one. `headers` are those that the client gets.
    """

    def __init__(self, status: int, said: list[tuple[bytes, bytes]], *, silent: bool, version: str = "1.1") -> None:
        self.status = status
        self.version = version
        self.said = said
        self.silent = silent
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in said]
        lengths, codings = values(pairs, "content-length"), values(pairs, "transfer-encoding")
        size = sum(len(name) + len(value) for name, value in said)
        # RFC 9112, section 6.3. The parser refuses several lengths, and a length beside a coding.
        if size > MAX_HEAD or [value.lower() for value in codings] not in ([], ["chunked"]):
            raise InvalidUpstreamResponse("framing")
        self.length = int(lengths[0]) if lengths else None
        self.until_close = not (silent or lengths or codings)
        self.headers = from_upstream(pairs, version)
        self.names_places = locations.are_in(self.headers)
        self.encoded: dict[bool, list[tuple[bytes, bytes]]] = {}

    def fields(self, *, varies: bool) -> list[tuple[bytes, bytes]]:
        """Return the headers in bytes; where it `varies`, a browser would get another answer."""
        if varies not in self.encoded:
            self.encoded[varies] = encoded(self.headers, varies=varies)
        return self.encoded[varies]


def encoded(headers: Headers, *, varies: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers in bytes; where the answer `varies`, a browser would get another."""
    pairs = varying_by_accept(headers) if varies else headers
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


class Peer(Protocol):
    """The other end, where a connection has become a WebSocket."""

    def service_says(self, data: bytes) -> None:
        """Pass on what the service says."""

    def service_is_full(self, full: bool) -> None:
        """Hold what is for the service back, or let it come again."""

    def end(self) -> None:
        """End with the service."""


# Bytes: an answer of up to this size is held whole before its head is passed on, so that one broken off is a 502.
WHOLE: Final = 64 * 1024
# Bytes of an answer's head.
MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 256
VERSIONS: Final = frozenset({"1.1", "1.0"})
WITHOUT_BODY: Final = frozenset({204, 304})
# Bytes of a body that wait for the client before the service is read from no more.
HIGH_WATER: Final = 256 * 1024
# Seconds that an idle connection is kept: less than the usual servers do (Node.js and uvicorn 5 s), so that it is
# rarely they who close it, and never while a request is on its way.
IDLE: Final = 4.0


class ClosedBeforeResponse(Exception):  # noqa: N818  # an outcome: the request may be tried on another connection
    """The service had closed the connection before it had said anything on it."""


class Connection(asyncio.Protocol):
    """A connection to a service. `exchange` sends a request; then `status`, `headers` and `body` are the answer."""

    def __init__(self, service: str, live: "set[Connection]", loop: asyncio.AbstractEventLoop) -> None:
        self.service = service
        # All that are open; a connection is in it as long as it is.
        self.live = live
        # Given, not asked for: asyncio asks the system for the process's id each time.
        self.loop = loop
        self.transport: asyncio.Transport
        self.parser = httptools.HttpResponseParser(self)
        self.poll: select.poll | None = None
        self.used = False
        self.closed = False
        self.writable: asyncio.Future[None] | None = None
        self.paused = False
        self.deadline = Deadline(loop, self.on_timeout)
        self.whole_by = 0.0
        self.sending: asyncio.Task[None] | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.in_use = False
        self.tunnel: Peer | None = None
        self.answer: Head | None = None
        self.prepare("")

    def prepare(self, method: str) -> None:
        """Forget the last exchange."""
        self.method = method
        self.status = 0
        self.said: list[tuple[bytes, bytes]] = []
        self.head_size = 0
        # Bytes since the last that were a body's.
        self.bytes_since_body = 0
        self.headers: Headers = []
        self.length: int | None = None
        self.has_head = False
        self.is_whole = False
        self.keeps = False
        self.until_close = False
        self.chunks: list[bytes] = []
        self.held = 0
        self.failure: Exception | None = None
        self.body_sent = True
        self.may_upgrade = False
        self.upgraded = False
        self.rest = b""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.live.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse what the service said."""
        if self.upgraded:
            if self.tunnel:
                self.tunnel.service_says(data)
            else:
                self.rest += data
            return
        if not self.in_use or self.is_whole:
            # Nobody asked: whatever this is, it must not be taken for the next answer.
            self.keeps = False
            self.close()
            return
        if not self.has_head:
            self.head_size += len(data)
        self.bytes_since_body += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            # Raised after the head of an answer that switches protocols, with where it ends.
            self.rest = data[exc.args[0] :]
            if not self.upgraded:
                self.fail(UpstreamProtocolError(self.service))
            return
        except httptools.HttpParserError:
            # A whole answer, with something after it that is none.
            if not self.is_whole:
                self.fail(UpstreamProtocolError(self.service))
            self.keeps = False
            return
        if self.bytes_since_body > MAX_HEAD and not self.is_whole:
            # A head, a trailer or a chunk's extension without an end: the parser keeps it.
            self.fail(UpstreamProtocolError(self.service))

    def eof_received(self) -> None:
        """End the answer, where that is how the service ends it; the transport closes itself."""
        self.keeps = False
        if self.has_head and self.until_close and self.failure is None:
            self.on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way."""
        self.closed = True
        self.live.discard(self)
        self.deadline.close()
        if exc is not None and self.in_use:
            self.read_remaining()
        if self.tunnel:
            self.tunnel.end()
        if self.in_use and not self.is_whole and self.failure is None:
            untouched = self.used and self.head_size == 0
            self.fail(ClosedBeforeResponse() if untouched else UpstreamDisconnected(self.service))
        self.resume_writing()

    def read_remaining(self) -> None:
        """Read what has arrived of the answer: a failed write must not hide it.

        A service that refuses an upload at its head closes while the gateway still writes, its answer already here. The
        event loop has stopped reading, but the socket is open until `connection_lost` returns. Not with TLS: what
        has arrived is encrypted.
        """
        if self.transport.get_extra_info("ssl_object") is not None:
            return
        descriptor = self.transport.get_extra_info("socket").fileno()
        with suppress(OSError):
            while not self.is_whole and self.failure is None:
                data = os.read(descriptor, HIGH_WATER)
                if not data:
                    self.eof_received()
                    return
                self.data_received(data)

    def pause_writing(self) -> None:
        """Keep the next piece of a body back."""
        self.writable = self.writable or self.loop.create_future()
        if self.tunnel:
            self.tunnel.service_is_full(True)

    def resume_writing(self) -> None:
        """Let the next piece of a body go."""
        if self.writable:
            self.writable.set_result(None)
            self.writable = None
        if self.tunnel:
            self.tunnel.service_is_full(False)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is dropped (RFC 9110, section 6.5.1).

        The request's id is the gateway's to say; with it no head would be the last one again.
        """
        if not self.has_head and name.lower() != b"x-request-id":
            self.said.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head."""
        if self.is_whole:
            return
        status = self.parser.get_status_code()
        if status == 101:
            self.upgrade()
            return
        if status < 100 or len(self.said) > MAX_HEADERS:
            raise InvalidUpstreamResponse("head")
        if status < 200:
            # An interim answer (RFC 9110, section 15.2).
            self.said = []
            return
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            raise InvalidUpstreamResponse("version")
        self.keeps = self.parser.should_keep_alive()
        self.take_head(status, version)
        self.has_head = True
        self.deadline.set(self.whole_by)
        if self.method == "HEAD":
            # The parser does not know that no body comes.
            self.parser = httptools.HttpResponseParser(self)
            self.on_message_complete()
        elif self.length is None or self.length > WHOLE:
            self.wake()

    def take_head(self, status: int, version: str) -> None:
        """Take the head, judged anew unless it is the last one again, as it often is."""
        silent = self.method == "HEAD" or status in WITHOUT_BODY
        head = self.answer
        if (
            head is None
            or head.status != status
            or head.version != version
            or head.silent is not silent
            or head.said != self.said
        ):
            self.answer = head = Head(status, self.said, silent=silent, version=version)
        self.status = status
        self.headers = head.headers
        self.length = head.length
        self.until_close = head.until_close

    def upgrade(self) -> None:
        """Switch to WebSocket; raise `InvalidUpstreamResponse` where that, or anything but that, was not asked for."""
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.said]
        if not self.may_upgrade or [value.lower() for value in values(pairs, "upgrade")] != ["websocket"]:
            raise InvalidUpstreamResponse("101")
        self.status = 101
        self.headers = from_upstream(pairs)
        self.has_head = self.upgraded = True
        self.deadline.clear()
        self.wake()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.bytes_since_body = 0
        if self.is_whole:
            self.keeps = False
            return
        self.chunks.append(body)
        self.held += len(body)
        if self.length is None or self.length > WHOLE:
            if self.held > HIGH_WATER and not self.paused and not self.transport.is_closing():
                self.paused = True
                self.transport.pause_reading()
            self.wake()

    def on_message_begin(self) -> None:
        """Note an answer that nobody asked for."""
        if self.is_whole:
            self.keeps = False

    def on_message_complete(self) -> None:
        """Note that the answer is whole."""
        if self.has_head and not self.is_whole and not self.upgraded:
            self.is_whole = True
            self.wake()
            # Nobody needs to wait any more to send the rest of a body.
            self.resume_writing()

    # What the door calls.

    def is_usable(self, *, repeatable: bool) -> bool:
        """Return whether an idle connection still is one, as far as can be told.

        For a request that may not be repeated the socket is asked whether the service has closed it meanwhile.
        """
        if self.closed or self.transport.is_closing() or self.loop.time() >= self.deadline.at:
            return False
        if repeatable:
            return True
        if self.poll is None:
            self.poll = select.poll()
            self.poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self.poll.poll(0)

    def begin(
        self,
        method: str,
        message: bytes,
        apart: bytes | bytearray = b"",
        *,
        head_by: float,
        whole_by: float,
        may_upgrade: bool = False,
    ) -> None:
        """Send a request's head, with what there is of its body. The answer has to be there by then (loop's time)."""
        self.prepare(method)
        self.may_upgrade = may_upgrade
        self.in_use = True
        self.whole_by = whole_by
        self.deadline.set(head_by)
        self.transport.writelines((message, apart)) if apart else self.transport.write(message)

    def extend(self, whole_by: float, *, first_byte: float | None = None) -> None:
        """Give the service until then, and where its answer has not begun, so many seconds from now for that."""
        self.whole_by = whole_by
        begin_by = whole_by if first_byte is None else min(whole_by, self.loop.time() + first_byte)
        self.deadline.set(whole_by if self.has_head else begin_by)

    def on_timeout(self) -> None:
        """End what is late; an idle connection has been idle for long enough."""
        if self.in_use:
            self.fail(UpstreamTimeout(self.service))
        else:
            self.close()

    async def send(self, piece: bytes) -> None:
        """Send more of the body, no faster than the service takes it; raise what has failed."""
        if self.failure:
            raise self.failure
        self.transport.write(piece)
        while self.writable:
            await asyncio.shield(self.writable)
            if self.failure:
                raise self.failure

    async def head(self) -> None:
        """Return once the head is there, and of an answer of up to `WHOLE` bytes all of it; raise what has failed."""
        while not (self.is_whole or (self.has_head and (self.length is None or self.length > WHOLE))):
            await self.wait()
        if self.failure and not self.chunks:
            raise self.failure

    def fields(self, *, varies: bool) -> list[tuple[bytes, bytes]]:
        """Return the headers in bytes, as `Head.fields`, where nobody has put others in their place."""
        if self.answer is not None and self.headers is self.answer.headers:
            return self.answer.fields(varies=varies)
        return encoded(self.headers, varies=varies)

    async def piece(self) -> bytes:
        """Return more of the body, nothing at its end; raise what has failed."""
        while not (self.chunks or self.is_whole):
            await self.wait()
        return self.take()

    def take(self) -> bytes:
        """Return what there is of the body."""
        chunks, self.chunks, self.held = self.chunks, [], 0
        if self.paused:
            self.paused = False
            self.transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def wait(self) -> None:
        """Wait for the service to say something; raise what has failed."""
        if self.failure:
            raise self.failure
        self.waiter = self.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def wake(self) -> None:
        """Let whoever waits look again."""
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)

    def fail(self, failure: Exception) -> None:
        """End the exchange and the connection."""
        if self.failure:
            return
        self.failure = failure
        self.keeps = False
        self.close()
        if self.waiter and not self.waiter.done():
            self.waiter.set_exception(failure)

    def close(self) -> None:
        """Close the connection at once, whatever is still to be sent."""
        self.transport.abort()

    def end(self) -> bool:
        """End the exchange; return whether the connection can be used for another."""
        if self.sending:
            self.sending.cancel()
            self.sending = None
        self.in_use = False
        self.used = True
        if self.upgraded:
            self.transport.close()
            return False
        reusable = self.is_whole and self.keeps and self.body_sent and not self.paused
        if not reusable or self.closed or self.transport.is_closing():
            self.close()
            return False
        self.deadline.set(self.loop.time() + IDLE)
        return True
