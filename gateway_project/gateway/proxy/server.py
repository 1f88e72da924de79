"""The clients' side: HTTP/1.1 connections, served by gunicorn's ASGI worker.

A connection is `ClientConnection`, not gunicorn's own: it bounds the time that a request's head may take, answers what
is malformed with a problem document, lets a WebSocket take it over, keeps little for an idle client, and takes a third
of the time for a request.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from chassis.logs import request_id_from
from chassis.statuses import code_of_status, reason_phrase
from gateway.deadlines import Deadline

from .answers import Answer
from .incoming import HIGH_WATER, InvalidRequest, RequestMessage, Requests
from .patience import LONGEST, Patience

if TYPE_CHECKING:
    # gunicorn's master imports this module, before Django is set up.
    from .tunnels import Tunnel

log = logging.getLogger(__name__)

# Seconds within which a request's head has to come, the first one's from the connection's beginning.
HEAD_WITHIN: Final = 30.0
# Seconds for which a connection that is closed takes what the client is still sending.
LINGER: Final = 2.0
# Seconds for which a connection may stay idle in a worker that stops: longer than a client in use pauses.
IDLE_AT_STOP: Final = 1.0
# Bytes of an answer that wait for the client before more are asked for.
WRITE_HIGH_WATER: Final = 64 * 1024
# A piece of this size is not copied to stand beside what frames it.
LARGE: Final = 64 * 1024

# What the parser refuses, in the words of a problem's `detail`.
EXPECTED: Final = {
    400: "Expected a well-formed HTTP/1.1 request.",
    408: "Expected the request's head sooner.",
    414: "Expected a shorter request line.",
    431: "Expected fewer or shorter header fields.",
    500: "Something went wrong here. The log has it.",
    501: "Unsupported method or transfer coding. Use a method that HTTP knows, and no transfer coding but chunked.",
    505: "Expected HTTP/1.1 or HTTP/1.0.",
}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientConnection(asyncio.Protocol):
    """A client's connection: requests in, answers out in their order, one under way at a time."""

    __slots__ = (
        "answer", "closed", "current", "deadline", "heard", "lingers", "loop", "peer", "reading", "requests", "server",
        "task", "transport", "tunnel", "waiter", "waiting", "worker", "writable",
    )  # fmt: skip

    def __init__(self, worker: Any) -> None:  # noqa: ANN401  # gunicorn's
        self.worker = worker
        self.loop: asyncio.AbstractEventLoop = worker.loop
        self.requests = Requests(self)
        # The request being answered, and its answer; those that wait for their turn.
        self.current: RequestMessage | None = None
        self.answer = Answer()
        self.waiting: deque[RequestMessage] = deque()
        self.task: asyncio.Task[None] | None = None
        self.deadline = Deadline(self.loop, self.on_timeout)
        self.tunnel: Tunnel | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.writable: asyncio.Future[None] | None = None
        # What the door has found out about the headers of the last request: the next one often has the same.
        self.heard: Any = None
        self.closed = self.lingers = False
        self.reading = True

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH_WATER)
        self.peer = address_of(transport, "peername")
        self.server = address_of(transport, "sockname")
        self.worker.nr_conns += 1
        self.worker.connections.add(self)
        self.deadline.set(self.loop.time() + HEAD_WITHIN)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way: a client that leaves takes its request to the service with it."""
        self.closed = True
        self.worker.nr_conns -= 1
        self.worker.connections.discard(self)
        self.deadline.close()
        self.resume_writing()
        self.give_up_body()
        self.requests.stop()
        if self.tunnel:
            self.tunnel.feed_eof()
        elif self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        if self.tunnel:
            self.tunnel.feed_data(data)
        elif not self.lingers:
            self.feed(data)

    def pause_writing(self) -> None:
        """Keep the rest of the answer back."""
        self.writable = self.writable or self.loop.create_future()
        if self.tunnel:
            self.tunnel.client_is_full(True)

    def resume_writing(self) -> None:
        """Let the answer go on."""
        if self.writable:
            self.writable.set_result(None)
            self.writable = None
        if self.tunnel:
            self.tunnel.client_is_full(False)

    # Requests.

    def feed(self, data: bytes) -> None:
        """Take more of what the client asks."""
        requests = self.requests
        coming = requests.coming
        try:
            requests.feed(data)
        except InvalidRequest as exc:
            self.refuse_next(exc.status, exc.path)
            return
        if requests.pending and (self.waiting or len(requests.pending) > HIGH_WATER):
            self.read(False)
        if self.current is not None or self.lingers:
            return
        if requests.coming is None:
            # White space before a request, which the parser skips.
            self.deadline.set(min(self.deadline.at, self.loop.time() + HEAD_WITHIN))
        elif requests.coming is not coming:
            self.deadline.set(self.loop.time() + HEAD_WITHIN)

    def request_begins(self, incoming: RequestMessage) -> None:
        """Let the application answer, while the body may still be coming; or later, after those before it."""
        if self.current is None:
            self.serve(incoming)
        else:
            self.waiting.append(incoming)
            self.read(False)

    def request_goes_on(self, incoming: RequestMessage) -> None:
        """Keep more of the body until it is asked for."""
        if incoming.buffered > HIGH_WATER:
            self.read(False)
        if incoming is self.current:
            self.wake()

    def refuse_next(self, status: int, path: str = "") -> None:
        """Refuse what is being parsed: at once, or after the answers that come before it."""
        coming, self.requests.coming = self.requests.coming, None
        if self.current is None or coming is self.current:
            self.give_up_body()
            if self.task:
                self.task.cancel()
            self.refuse(status, path)
            return
        # What comes before it is answered as the last; then the connection closes without a word on this one.
        self.read(False)
        self.waiting.clear()
        self.current.keeps = False

    def serve(self, incoming: RequestMessage) -> None:
        """Let the application answer."""
        self.current = incoming
        self.answer = Answer()
        self.deadline.clear()
        path, _, query = incoming.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if incoming.modern else "1.0",
            "method": incoming.method,
            "scheme": self.worker.scheme,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": incoming.fields,
            "client": self.peer,
            "server": self.server,
            "gatehouse.client": self,
        }
        self.task = self.loop.create_task(self.run(scope))

    async def run(self, scope: dict[str, Any]) -> None:
        """Answer one request."""
        try:
            await self.worker.asgi(scope, self.receive, self.send)
        except asyncio.CancelledError:
            if self.current:
                self.current.keeps = False
            raise
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
        finally:
            self.task = None
            self.end()

    def end(self) -> None:
        """Go on to the next request, or close."""
        current, self.current = self.current, None
        self.worker.nr += 1
        if self.worker.nr >= self.worker.max_requests:
            self.worker.alive = False
        if self.closed or self.lingers or current is None:
            return
        if self.tunnel:
            self.transport.close()
        elif not self.answer.started:
            self.refuse(500)
        elif not self.answer.finished:
            # An answer without its end must not look like a whole one.
            self.transport.close() if self.answer.shows_its_end else self.transport.abort()
        elif not (current.keeps and current.complete):
            self.close()
        elif self.waiting:
            following = self.waiting.popleft()
            self.serve(following)
            if not self.waiting:
                self.go_on()
            self.read(not self.waiting and following.buffered <= HIGH_WATER)
        else:
            self.idle()

    def idle(self) -> None:
        """Wait for the next request, or for the rest of its head."""
        self.read(True)
        if self.requests.pending or self.requests.upgrades:
            self.requests.stay()
            self.go_on()
        if self.current is not None or self.lingers:
            return
        patience = self.worker.keepalive if self.worker.alive else IDLE_AT_STOP
        self.deadline.set(self.loop.time() + (patience if self.requests.coming is None else HEAD_WITHIN))

    def go_on(self) -> None:
        """Parse what has come since the next request in turn was whole."""
        try:
            self.requests.go_on()
        except InvalidRequest as exc:
            self.refuse_next(exc.status, exc.path)

    async def receive(self) -> dict[str, Any]:
        """Return a piece of the body, or that there is nothing more to come (ASGI)."""
        current = cast("RequestMessage", self.current)
        if not (current.chunks or current.complete or current.late):
            if current.expects:
                current.expects = False
                self.transport.write(CONTINUE)
            await self.wait_for_body()
        if current.late:
            return {"type": "http.disconnect"}
        if current.ended:
            # The client's leaving cancels this.
            await self.loop.create_future()
        piece = current.take()
        if not self.waiting:
            self.read(len(self.requests.pending) <= HIGH_WATER)
        return {"type": "http.request", "body": piece, "more_body": not current.complete}

    async def wait_for_body(self) -> None:
        """Return once there is more of the body, or the client has let too long pass."""
        current = cast("RequestMessage", self.current)
        patience = current.patience = current.patience or Patience()
        self.deadline.set(patience.start(self.loop.time(), current.received))
        self.waiter = self.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None
            self.deadline.clear()
            patience.stop(self.loop.time())

    def give_up_body(self) -> None:
        """Let nobody wait for more of the body: not even a thread of Django's, which cannot be cancelled."""
        if self.current:
            self.current.late = True
            self.wake()

    def wake(self) -> None:
        """Let whoever waits for the body look again."""
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)

    def read(self, on: bool) -> None:
        """Read from the client, or let it wait."""
        if on is not self.reading and not self.transport.is_closing():
            self.reading = on
            self.transport.resume_reading() if on else self.transport.pause_reading()

    # Answers.

    async def send(self, message: Any) -> None:  # noqa: ANN401  # ASGI's
        """Send an answer's head or a piece of its body, no faster than the client takes it (ASGI)."""
        if self.closed or self.lingers:
            return
        if message["type"] == "http.response.start":
            self.begin(message["status"], message["headers"])
            return
        self.write(message.get("body", b""), more=message.get("more_body", False))
        if self.writable:
            await self.wait_for_client()

    async def wait_for_client(self) -> None:
        """Return once the client has taken enough of the answer, or has left."""
        answer = self.answer
        patience = answer.patience = answer.patience or Patience()
        while self.writable and not self.closed:
            self.deadline.set(patience.start(self.loop.time(), self.taken()))
            await asyncio.shield(self.writable)
            self.deadline.clear()
            patience.stop(self.loop.time())

    def taken(self) -> int:
        """Return how many bytes of the answer the client has taken."""
        return self.answer.sent - self.transport.get_write_buffer_size()

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Make the head, which goes out with the first piece of the body."""
        self.answer.begin(status, headers, self.current, alive=self.worker.alive)

    def write(self, piece: bytes, *, more: bool) -> None:
        """Write a piece of the body, framed."""
        before, piece, after = self.answer.frame(piece, more=more)
        if len(piece) >= LARGE:
            self.transport.writelines([part for part in (before, piece, after) if part])
        elif out := before + piece + after:
            self.transport.write(out)

    def abort(self) -> None:
        """Close the connection at once, in the middle of an answer."""
        self.transport.abort()

    def flush(self) -> None:
        """Send the answer's head before there is any of its body."""
        self.transport.write(self.answer.take_head())

    def take_over(self, head: bytes, tunnel_of: Callable[[asyncio.Transport], "Tunnel"]) -> "Tunnel":
        """Send the head, and let all that the client sends from here on go to the tunnel."""
        self.tunnel = tunnel = tunnel_of(self.transport)
        self.answer.started = True
        self.read(True)
        self.transport.write(head)
        if self.requests.pending:
            tunnel.feed_data(self.requests.pending)
        self.requests.stop()
        if not self.worker.alive:
            tunnel.close()
        return tunnel

    def refuse(self, status: int, path: str = "") -> None:
        """Answer with a problem of the connection's own, unless there is half an answer already, and close."""
        if self.answer.is_half or self.tunnel:
            self.transport.abort()
            return
        request_id = request_id_from(None)
        members = {
            "type": "about:blank",
            "title": reason_phrase(status),
            "status": status,
            "code": code_of_status(status),
            "detail": EXPECTED[status],
            "instance": path,
            "request_id": request_id,
            "origin": "gateway",
        }
        content = json.dumps(members, separators=(",", ":")).encode()
        self.current = None
        self.answer = Answer()
        self.begin(
            status,
            [
                (b"content-type", b"application/problem+json"),
                (b"content-length", b"%d" % len(content)),
                (b"x-request-id", request_id.encode()),
            ],
        )
        self.write(content, more=False)
        self.close()

    # The end.

    def close(self) -> None:
        """Say that there is no more to come, and take what is still on its way.

        Closed with bytes unread, the connection would be reset, and the answer lost with it (RFC 9112, section 9.6).
        """
        if self.lingers or self.transport.is_closing():
            return
        self.lingers = True
        self.waiting.clear()
        self.requests.pending = b""
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.read(True)
        self.transport.write_eof()
        patience = LONGEST if self.transport.get_write_buffer_size() else LINGER
        self.deadline.set(self.loop.time() + patience)

    def on_timeout(self) -> None:
        """End what has taken too long."""
        if self.lingers:
            # The client has taken nothing for that long.
            self.transport.abort()
        elif self.writable:
            patience = self.answer.patience
            until = patience and patience.renew(self.loop.time(), self.taken())
            self.deadline.set(until) if until else self.transport.abort()
        elif self.waiter:
            self.give_up_body()
        elif self.task is None and self.requests.coming is not None:
            self.refuse(408)
        elif self.task is None:
            self.close()

    def stop_when_idle(self) -> None:
        """Close soon, unless the client goes on: the worker stops. A WebSocket has no request to finish."""
        if self.tunnel:
            self.tunnel.close()
        elif self.task is None and not self.lingers:
            self.deadline.set(min(self.deadline.at, self.loop.time() + IDLE_AT_STOP))


def address_of(transport: asyncio.BaseTransport, end: str) -> tuple[str, int] | None:
    """Return the address and port of one end, without what IPv6 adds to it."""
    name = transport.get_extra_info(end)
    return tuple(name[:2]) if isinstance(name, tuple) else None
