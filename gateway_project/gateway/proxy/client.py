"""A client's connection: requests in, responses out in their order, one exchange at a time."""

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from gateway.upstreams.connection import Connection

from .invalid import InvalidRequest
from .messages import HIGH_WATER, BodyBuffer, RequestMessage
from .parsing import RequestParser
from .patience import MAX_WAIT, Patience
from .writer import ResponseWriter

if TYPE_CHECKING:
    # gunicorn's master imports this module, before Django is set up.
    from .exchange import Exchange
    from .tunnels import Tunnel

log = logging.getLogger(__name__)

# Seconds within which a request's head has to come, the first one's from the connection's beginning.
HEAD_TIMEOUT: Final = 30.0
# Seconds for which a closed connection still receives what the client is sending.
LINGER: Final = 2.0
# Seconds for which a connection may stay idle in a worker that stops: longer than a client in use pauses.
IDLE_AT_STOP: Final = 1.0
# Bytes of a response that wait for the client before more is read from the service.
WRITE_HIGH_WATER: Final = 64 * 1024
# A piece of this size is not copied to be joined with its framing.
LARGE: Final = 64 * 1024
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientConnection(Connection):
    """Parses requests, hands each to an `Exchange`, and writes its response."""

    __slots__ = ("address", "current", "lingering", "parser", "peer", "serving", "waiting", "worker")

    def __init__(self, worker: Any) -> None:  # noqa: ANN401  # gunicorn's
        super().__init__(worker.loop)
        self.worker = worker
        self.parser = RequestParser(self, worker.asgi.proxy.memo, worker.asgi.proxy.bounds)
        # The exchange under way, and the requests that wait for their turn.
        self.current: Exchange | None = None
        self.waiting: deque[RequestMessage] = deque()
        self.lingering = self.serving = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH_WATER)
        self.peer = address_of(transport, "peername")
        self.address = self.peer[0] if self.peer else ""
        self.worker.nr_conns += 1
        self.worker.connections.add(self)
        self.deadline.set(self.loop.time() + HEAD_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange under way, and with it its request to the service."""
        super().connection_lost(exc)
        self.worker.nr_conns -= 1
        self.worker.connections.discard(self)
        self.parser.stop()
        self.waiting.clear()
        if self.current and not self.tunnel:
            self.current.cancel()

    def data_received(self, data: bytes) -> None:
        if self.tunnel:
            self.tunnel.forward(self, data)
            return
        if self.lingering:
            return
        message = self.parser.message
        try:
            self.parser.feed(data)
        except InvalidRequest as exc:
            self.serve()
            self.reject_next(exc)
            return
        parser = self.parser
        if self.current is not None:
            if parser.pending and (self.waiting or len(parser.pending) > HIGH_WATER):
                self.read(False)
        elif parser.message is not None and parser.message is not message:
            self.deadline.set(self.loop.time() + HEAD_TIMEOUT)

    def on_timeout(self) -> None:
        if self.lingering:
            # The client received nothing for that long.
            self.abort()
        elif self.current is not None:
            self.current.on_timeout()
        elif self.parser.message is not None:
            self.reject(InvalidRequest(408))
        else:
            self.close()

    # Requests.

    def serve(self) -> None:
        """Serve the requests that wait, each after the one before it, and parse what follows them."""
        if self.serving:
            return
        self.serving = True
        invalid = None
        while not (self.lingering or self.closed):
            if self.waiting and self.current is None:
                self.deadline.clear()
                self.current = exchange = self.worker.asgi.proxy.exchange(self, self.waiting.popleft())
                exchange.step(exchange.decide)
            elif self.parser.pending and not (self.waiting or self.parser.upgrades):
                try:
                    self.parser.resume()
                except InvalidRequest as exc:
                    invalid = exc
            else:
                break
        self.serving = False
        if self.waiting:
            self.read(False)
        elif self.reading:
            pass
        elif self.current is None or not (body := self.current.message.body) or body.buffered <= HIGH_WATER:
            self.read_more()
        if invalid:
            self.reject_next(invalid)

    def body_received(self, body: BodyBuffer) -> None:
        """Let the exchange read it, or keep it until its turn."""
        if body.buffered > HIGH_WATER:
            self.read(False)
        body.wake()

    def reject_next(self, invalid: InvalidRequest) -> None:
        """Reject what is being parsed: at once, or by closing after the response that comes before it."""
        message, self.parser.message = self.parser.message, None
        if self.lingering or self.closed:
            return
        current = self.current
        if current is None or current.message is message:
            if current is not None:
                current.cancel()
            self.reject(invalid)
            return
        self.read(False)
        self.waiting.clear()
        current.message.keep_alive = False

    def reject(self, invalid: InvalidRequest) -> None:
        """Respond with a problem to what is not a request, unless a part of a response is sent; and close."""
        begun = self.current.writer if self.current else None
        if (begun and not begun.finished) or self.tunnel:
            self.abort()
            return
        self.current = None
        request_id, block, content = self.worker.asgi.proxy.problem(invalid)
        writer = ResponseWriter(invalid.status, block, request_id, None, alive=False)
        self.write(writer, content, more=False)
        self.close()

    # Responses.

    def write(self, writer: ResponseWriter, piece: bytes, *, more: bool) -> None:
        parts = writer.frame(piece, more=more)
        if len(piece) >= LARGE:
            self.transport.writelines(parts)
        elif parts:
            self.transport.write(b"".join(parts))

    async def wait_for_client(self, writer: ResponseWriter) -> None:
        """Return once the client has received enough of the response, or has left."""
        patience = writer.patience = writer.patience or Patience()
        while self.writable and not self.closed:
            self.deadline.set(patience.start(self.loop.time(), self.delivered(writer)))
            await asyncio.shield(self.writable)
            self.deadline.clear()
            patience.stop(self.loop.time())

    def delivered(self, writer: ResponseWriter) -> int:
        return writer.sent - self.transport.get_write_buffer_size()

    async def wait_for_body(self, body: BodyBuffer) -> None:
        """Return once there is more of the body, or the client was too slow."""
        if body.expect_continue:
            body.expect_continue = False
            self.transport.write(CONTINUE)
        patience = body.patience = body.patience or Patience()
        self.deadline.set(patience.start(self.loop.time(), body.received))
        body.waiter = self.loop.create_future()
        try:
            await body.waiter
        finally:
            body.waiter = None
            self.deadline.clear()
            patience.stop(self.loop.time())

    def read_more(self) -> None:
        """Read from the client again, unless enough of what it sent waits."""
        if not self.waiting:
            self.read(len(self.parser.pending) <= HIGH_WATER)

    def take_over(self, head: bytes, tunnel: "Tunnel") -> None:
        """Send the head, and let the tunnel have all that the client sends after its request."""
        self.tunnel = tunnel
        self.read(True)
        self.transport.write(head)
        if self.parser.pending:
            tunnel.forward(self, self.parser.pending)
        self.parser.stop()
        if not self.worker.alive:
            tunnel.close()

    # The end of an exchange, and of the connection.

    def finished(self, exchange: "Exchange") -> None:
        """Go on with the next request, or close."""
        self.worker.nr += 1
        if self.worker.nr >= self.worker.max_requests:
            self.worker.alive = False
        if self.current is not exchange:
            return
        self.current = None
        writer = exchange.writer
        if self.closed or self.lingering:
            return
        if self.tunnel:
            self.transport.close()
        elif writer is None:
            self.reject(InvalidRequest(500))
        elif not writer.finished:
            # A response that is cut off must not look complete.
            self.transport.close() if writer.shows_its_end else self.abort()
        elif writer.keep_alive and exchange.message.keep_alive:
            self.next()
        else:
            self.close()

    def next(self) -> None:
        parser = self.parser
        if self.waiting or parser.pending or parser.upgrades or not self.reading:
            if not self.waiting:
                parser.ignore_upgrade()
            self.serve()
        if self.current is None and not (self.lingering or self.closed):
            patience = self.worker.keepalive if self.worker.alive else IDLE_AT_STOP
            self.deadline.set(self.loop.time() + (patience if parser.message is None else HEAD_TIMEOUT))

    def close(self) -> None:
        """Send no more, and receive what is still on its way.

        Closed with bytes unread, the connection would be reset, and the response lost with it (RFC 9112, section 9.6).
        """
        if self.lingering or self.transport.is_closing():
            return
        self.lingering = True
        self.waiting.clear()
        self.parser.pending = b""
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.read(True)
        self.transport.write_eof()
        patience = MAX_WAIT if self.transport.get_write_buffer_size() else LINGER
        self.deadline.set(self.loop.time() + patience)

    def stop_when_idle(self) -> None:
        """Close soon, unless the client goes on: the worker stops. A WebSocket has no request to finish."""
        if self.tunnel:
            self.tunnel.close()
        elif self.current is None and not self.lingering:
            self.deadline.set(min(self.deadline.at, self.loop.time() + IDLE_AT_STOP))


def address_of(transport: asyncio.BaseTransport, end: str) -> tuple[str, int] | None:
    """Return the address and port of one end, without what IPv6 adds to it."""
    name = transport.get_extra_info(end)
    return tuple(name[:2]) if isinstance(name, tuple) else None
