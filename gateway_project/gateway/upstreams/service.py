"""A connection to a service: requests out, responses in, one exchange at a time, every wait under a deadline.

Framing. The end of a response follows from its headers (RFC 9112, section 6.3): from no body at all,
`chunked`, `Content-Length`, or the close of the connection. A response that leaves its end open to
interpretation, or is not valid HTTP, is an `UpstreamError`, and the client gets none of it. Parsing is
strict (`httptools`, which is Node's llhttp), since a message that two parsers read differently can be
an attack (RFC 9112, section 11).

A connection in doubt is not used again. It is reusable only after a whole response and a whole request,
and without a surplus byte. Otherwise the rest of one response could be read as the beginning of the
next, and one client would get the response of another. A service may also close an idle connection
just as the next request is sent (RFC 9112, section 9.3.1). `ClosedBeforeResponse` lets the caller send
the request once more on a new connection, if it is safe to repeat.
"""

import asyncio
import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.policy.rejections import RequestRejected, UpstreamDisconnected, UpstreamTimeout

from .connection import Connection
from .ejection import outcome_of
from .requests import LAST_CHUNK, UpstreamRequest, chunk
from .responses import HIGH_WATER, ResponseParser, ServiceResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from .pools import Pool

# Seconds that an idle connection is kept: less than the usual servers do (Node.js and uvicorn 5 s), so that they
# rarely close it, and never while a request is on its way.
IDLE: Final = 4.0
# Seconds after which a connection gets no more requests, so that what was added to the service gets its share, and a
# name that has moved is followed.
LIFETIME: Final = 600.0
# Seconds: more than a client has for a piece of its body, so that the client times out, not the service.
BODY_PATIENCE: Final = 300.0


class ClosedBeforeResponse(UpstreamDisconnected):
    """The service has closed the connection before any byte of a response.

    If the connection `was_idle`, the service may have closed it before the request came.
    """

    def __init__(self, service: str, *, was_idle: bool) -> None:
        super().__init__(service)
        self.was_idle = was_idle


class ServiceConnection(Connection):
    """A connection to one address of a service. `round_trip` sends a request and returns its response."""

    __slots__ = ("expires_at", "parser", "poll", "pool", "response", "service", "used", "whole_by")

    def __init__(self, pool: "Pool") -> None:
        super().__init__(pool.loop)
        self.pool = pool
        self.service = pool.service
        self.parser = ResponseParser(self, pool.memo)
        # The exchange under way.
        self.response: ServiceResponse | None = None
        self.used = False
        self.whole_by = 0.0
        self.poll: select.poll | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.expires_at = self.loop.time() + LIFETIME
        self.pool.live.add(self)

    def data_received(self, data: bytes) -> None:
        response = self.response
        if response is not None and not response.is_whole and not response.is_upgraded:
            self.parser.feed(data)
        elif self.tunnel:
            self.tunnel.forward(self, data)
        elif response is not None and response.is_upgraded:
            response.rest += data
        else:
            # It must not be read as the next request's response.
            self.parser.keep_alive = False
            self.abort()

    def eof_received(self) -> None:
        """End the response, if that is how it ends; the transport closes itself."""
        if self.response is not None:
            self.parser.feed_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.pool.forget(self)
        if exc is not None and self.response is not None:
            self.read_remaining(self.response)
        if self.response is not None and not self.response.is_whole:
            untouched = self.parser.received == 0
            self.fail(
                ClosedBeforeResponse(self.service, was_idle=self.used)
                if untouched
                else UpstreamDisconnected(self.service)
            )
        super().connection_lost(exc)

    def read_remaining(self, response: ServiceResponse) -> None:
        """Read what has arrived of the response: a failed write must not hide it.

        A service that rejects an upload closes the connection while the gateway still writes. The event loop has
        stopped reading, but the socket is open until `connection_lost` returns. Not with TLS: what has arrived is
        encrypted.
        """
        if self.transport.get_extra_info("ssl_object") is not None:
            return
        descriptor = self.transport.get_extra_info("socket").fileno()
        with suppress(OSError):
            while self.response is response and not response.is_whole and response.error is None:
                data = os.read(descriptor, HIGH_WATER)
                if not data:
                    self.eof_received()
                    return
                self.data_received(data)

    def on_timeout(self) -> None:
        if self.response is not None:
            self.fail(UpstreamTimeout(self.service))
        else:
            self.abort()

    # An exchange.

    def is_usable(self, *, repeatable: bool) -> bool:
        """Return whether an idle connection can be used, as far as is known.

        For a request that must not be repeated, the socket is asked whether the service has closed it.
        """
        if self.closed or self.transport.is_closing() or self.loop.time() >= self.deadline.at:
            return False
        if repeatable:
            return True
        if self.poll is None:
            self.poll = select.poll()
            self.poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self.poll.poll(0)

    def round_trip(
        self, request: UpstreamRequest, whole_by: float, notify: "Callable[[], None] | None" = None
    ) -> ServiceResponse:
        """Send the request, the rest of its body as it comes, and return its response, which comes too."""
        response = ServiceResponse(self, request.method, notify, may_upgrade=request.is_handshake)
        self.response = response
        self.parser.begin(response)
        self.whole_by = whole_by
        first_byte = request.timeouts.first_byte
        self.deadline.set(whole_by if first_byte is None else min(self.loop.time() + first_byte, whole_by))
        head, body = request.message(self.pool.address.authority, self.pool.address.base)
        self.transport.writelines((head, body)) if body else self.transport.write(head)
        if not request.body.is_whole:
            response.body_sent = False
            response.sending = self.loop.create_task(self.send_rest(request, response))
        return response

    def head_received(self, response: ServiceResponse) -> None:
        """Wait for the rest until the exchange's deadline; a WebSocket has none."""
        if response.is_upgraded:
            self.deadline.clear()
        else:
            self.deadline.set(self.whole_by)

    async def send_rest(self, request: UpstreamRequest, response: ServiceResponse) -> None:
        """Send the rest of the body as it comes. The service's time for its response begins at the body's end."""
        body, timeouts = request.body, request.timeouts
        try:
            while not body.is_whole:
                if response.is_whole:
                    # The service reads no more of it.
                    return
                self.extend(response, BODY_PATIENCE)
                piece = await body.piece()
                self.extend(response, timeouts.total)
                await self.send(response, chunk(piece) if body.length is None else piece)
                body.release()
            if body.length is None:
                await self.send(response, LAST_CHUNK)
        except RequestRejected as exc:
            self.fail(exc)
            return
        response.body_sent = True
        self.extend(response, timeouts.total, timeouts.first_byte)

    def extend(self, response: ServiceResponse, total: float, first_byte: float | None = None) -> None:
        """Give the service so many seconds from now, and for the first byte fewer."""
        now = self.loop.time()
        self.whole_by = now + total
        waits_for_head = first_byte is not None and response.head is None
        self.deadline.set(min(self.whole_by, now + (first_byte or 0)) if waits_for_head else self.whole_by)

    async def send(self, response: ServiceResponse, piece: bytes) -> None:
        """Send a piece of the body, no faster than the service takes it; raise what failed."""
        if response.error is None:
            self.transport.write(piece)
            await self.drain()
        if response.error is not None:
            raise response.error

    def fail(self, error: Exception) -> None:
        response = self.response
        if response is None or response.error:
            return
        response.error = error
        outcome = outcome_of(error)
        is_stale = isinstance(error, ClosedBeforeResponse) and error.was_idle
        if is_stale:
            self.pool.ejection.allow_probe()
        # A WebSocket ends with either side.
        elif outcome is not None and not response.is_upgraded:
            self.pool.ejection.failed(outcome)
        self.parser.keep_alive = False
        self.abort()
        response.changed()

    def end(self, response: ServiceResponse) -> bool:
        """End the exchange; return whether the connection is used for another, by way of its pool."""
        if self.response is not response:
            return False
        self.response = None
        if response.is_upgraded:
            self.transport.close()
            return False
        reusable = response.is_whole and self.parser.keep_alive and response.body_sent and self.reading
        if not reusable or self.closed or self.transport.is_closing():
            self.abort()
            return False
        self.become_idle()
        return True

    def become_idle(self) -> None:
        self.used = True
        self.deadline.set(min(self.loop.time() + IDLE, self.expires_at))
        self.pool.keep(self)
