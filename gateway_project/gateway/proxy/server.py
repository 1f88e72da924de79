"""The clients' side: HTTP/1.1 connections, served by gunicorn's ASGI worker.

gunicorn forks, reloads and stops the workers, and its C parser reads requests. A connection is `ClientConnection`, not
gunicorn's own: it bounds the time that a request's head may take, answers what is malformed with a problem document,
lets a WebSocket take it over, keeps little for an idle client, and takes a third of the time for a request.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import gunicorn_h1c
from gunicorn.workers import gasgi

from gateway.logs import request_id_from

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
# Bytes of a body, or of further requests, that wait here before the client is read from no more.
HIGH_WATER: Final = 256 * 1024
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
}
STATUS_LINES: Final[dict[int, bytes]] = {
    status: f"HTTP/1.1 {status:d} {status.phrase}\r\n".encode() for status in HTTPStatus
}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
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


class ClientConnection(asyncio.Protocol):
    """A client's connection: requests in, one at a time, answers out in their order."""

    __slots__ = (
        "body_ended", "body_is_late", "buffered", "chunked", "chunks", "closed", "complete", "deadline", "expects",
        "finished", "head", "head_began", "heard", "keeps", "left", "lingers", "loop", "method", "modern", "parser",
        "peer", "pending", "reading", "server", "silent", "started", "task", "timer", "transport", "tunnel", "waiter",
        "worker", "writable",
    )  # fmt: skip

    def __init__(self, worker: Any) -> None:  # noqa: ANN401  # gunicorn's
        self.worker = worker
        self.loop: asyncio.AbstractEventLoop = worker.loop
        self.parser: Any = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.tunnel: Tunnel | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.writable: asyncio.Future[None] | None = None
        # What the door has found out about the headers of the last request: the next one often has the same.
        self.heard: Any = None
        self.closed = self.lingers = False
        self.reading = True
        self.pending = b""
        self.prepare()

    def prepare(self) -> None:
        """Forget the last request."""
        self.head_began = self.complete = self.body_ended = self.body_is_late = self.expects = False
        self.started = self.finished = False
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.head = b""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH_WATER)
        self.peer = address_of(transport, "peername")
        self.server = address_of(transport, "sockname")
        self.worker.nr_conns += 1
        self.worker.connections.add(self)
        self.until(self.loop.time() + HEAD_WITHIN)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way: a client that leaves takes its request to the service with it."""
        self.closed = True
        self.worker.nr_conns -= 1
        self.worker.connections.discard(self)
        if self.timer:
            self.timer.cancel()
            self.timer = None
        self.resume_writing()
        self.give_up_body()
        if self.tunnel:
            self.tunnel.feed_eof()
        elif self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        if self.tunnel:
            self.tunnel.feed_data(data)
        elif self.complete:
            # Requests that follow wait until this one is answered.
            self.pending += data
            self.read(len(self.pending) <= HIGH_WATER)
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
        """Parse more of a request."""
        if self.parser is None:
            limits = self.worker.cfg
            self.parser = gunicorn_h1c.H1CProtocol(
                on_headers_complete=self.on_headers_complete,
                on_body=self.on_body,
                on_message_complete=self.on_message_complete,
                limit_request_line=limits.limit_request_line,
                limit_request_fields=limits.limit_request_fields,
                limit_request_field_size=limits.limit_request_field_size,
                permit_unconventional_http_method=True,
            )
        try:
            self.parser.feed(data)
        except ValueError as exc:
            self.malformed(exc)
            return
        if self.task is None and not self.head_began:
            self.head_began = True
            self.until(self.loop.time() + HEAD_WITHIN)

    def malformed(self, exc: ValueError) -> None:
        """Answer what the parser has refused, and close."""
        if isinstance(exc, gunicorn_h1c.LimitRequestLine):
            status = 414
        elif isinstance(exc, gunicorn_h1c.LimitRequestHeaders):
            status = 431
        else:
            status = 400
        self.give_up_body()
        if self.task:
            self.task.cancel()
        self.refuse(status)

    def on_headers_complete(self) -> bool:
        """Let the application answer, while the body may still be coming."""
        parser = self.parser
        self.deadline = math.inf
        self.method = parser.method.decode("ascii")
        self.modern = parser.http_version >= (1, 1)
        # Nobody promises an HTTP/1.0 client that the connection stays, so it does not.
        self.keeps = self.modern and parser.should_keep_alive
        headers = parser.asgi_headers
        if parser.is_chunked or parser.content_length:
            self.expects = self.modern and any(name == b"expect" for name, _ in headers)
        path, _, query = parser.path.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if self.modern else "1.0",
            "method": self.method,
            "scheme": "https" if self.worker.cfg.is_ssl else "http",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self.peer,
            "server": self.server,
            "gatehouse.client": self,
        }
        self.task = self.loop.create_task(self.run(scope))
        return False

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body until it is asked for."""
        self.expects = False
        self.chunks.append(piece)
        self.buffered += len(piece)
        self.read(self.buffered <= HIGH_WATER)
        self.wake()

    def on_message_complete(self) -> None:
        """Note that the body is whole."""
        self.complete = True
        self.wake()

    async def run(self, scope: dict[str, Any]) -> None:
        """Answer one request."""
        try:
            await self.worker.asgi(scope, self.receive, self.send)
        except asyncio.CancelledError:
            self.keeps = False
            raise
        except Exception:
            log.exception("%s %s failed", self.method, scope["path"])
        finally:
            self.task = None
            self.end()

    def end(self) -> None:
        """Go on to the next request, or close."""
        self.worker.nr += 1
        if self.worker.nr >= self.worker.max_requests:
            self.worker.alive = False
        if self.closed or self.lingers:
            return
        if self.tunnel or (self.started and not self.finished):
            # An answer without its end must not look like a whole one.
            self.transport.abort() if self.left is None and not self.chunked else self.transport.close()
        elif not self.started:
            self.refuse(500)
        elif not self.keeps or self.parser.remaining_truncated:
            self.close()
        else:
            rest = self.parser.remaining() + self.pending
            self.pending = b""
            self.parser.reset()
            self.prepare()
            self.read(True)
            self.until(self.loop.time() + (self.worker.cfg.keepalive if self.worker.alive else IDLE_AT_STOP))
            if rest:
                self.feed(rest)

    async def receive(self) -> dict[str, Any]:
        """Return a piece of the body, or that there is nothing more to come (ASGI)."""
        if not (self.chunks or self.complete or self.body_is_late):
            if self.expects:
                self.expects = False
                self.transport.write(CONTINUE)
            await self.wait_for_body()
        if self.body_is_late:
            return {"type": "http.disconnect"}
        if self.body_ended:
            # The client's leaving cancels this.
            await self.loop.create_future()
        piece = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks = []
        self.buffered = 0
        self.body_ended = self.complete
        self.read(len(self.pending) <= HIGH_WATER)
        return {"type": "http.request", "body": piece, "more_body": not self.complete}

    async def wait_for_body(self) -> None:
        """Return once there is more of the body, or the client has let too long pass."""
        self.until(self.loop.time() + self.worker.cfg.timeout)
        self.waiter = self.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None
            self.deadline = math.inf

    def give_up_body(self) -> None:
        """Let nobody wait for more of the body: not even a thread of Django's, which cannot be cancelled."""
        self.body_is_late = True
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
        while self.writable and not self.closed:
            self.until(self.loop.time() + self.worker.cfg.timeout)
            await asyncio.shield(self.writable)
            self.deadline = math.inf

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Make the head, which goes out with the first piece of the body."""
        lines = [STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
        dated = False
        self.left: int | None = None
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
        self.silent = self.method == "HEAD" or status in WITHOUT_BODY
        self.chunked = self.left is None and not self.silent and self.modern
        if self.chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        # RFC 9112, section 9.6: where the request has not been read to its end, nothing can follow it.
        self.keeps = self.keeps and self.complete and self.worker.alive
        if not self.keeps:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.head = b"".join(lines)
        self.started = True
        self.expects = False

    def write(self, piece: bytes, *, more: bool) -> None:
        """Write a piece of the body, framed; what is more than its length is no part of it."""
        if self.silent:
            piece = b""
        elif self.left is not None:
            piece = piece[: self.left]
            self.left -= len(piece)
        head, self.head = self.head, b""
        after = b""
        if self.chunked:
            if piece:
                head += b"%x\r\n" % len(piece)
                after = b"\r\n"
            if not more:
                after += b"0\r\n\r\n"
        if len(piece) >= LARGE:
            self.transport.writelines([part for part in (head, piece, after) if part])
        elif out := head + piece + after:
            self.transport.write(out)
        self.finished = not more and (self.silent or not self.left)

    def flush(self) -> None:
        """Send the answer's head before there is any of its body."""
        head, self.head = self.head, b""
        self.transport.write(head)

    def take_over(self, head: bytes, tunnel_of: Callable[[asyncio.Transport], "Tunnel"]) -> "Tunnel":
        """Send the head, and let all that the client sends from here on go to the tunnel."""
        self.tunnel = tunnel = tunnel_of(self.transport)
        self.started = True
        self.read(True)
        self.transport.write(head)
        if rest := self.parser.remaining() + self.pending:
            tunnel.feed_data(rest)
        return tunnel

    def refuse(self, status: int) -> None:
        """Answer with a problem of the connection's own, unless there is half an answer already, and close."""
        if self.started or self.tunnel:
            self.transport.abort()
            return
        request_id = request_id_from(None)
        members = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": EXPECTED[status],
            "instance": "",
            "request_id": request_id,
            "origin": "gateway",
        }
        content = json.dumps(members, separators=(",", ":")).encode()
        self.method, self.modern, self.keeps = "", True, False
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
        self.chunks, self.pending = [], b""
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.read(True)
        self.transport.write_eof()
        patience = self.worker.cfg.timeout if self.transport.get_write_buffer_size() else LINGER
        self.until(self.loop.time() + patience)

    def until(self, deadline: float) -> None:
        """Let the client have until then. The timer is set anew only where it would ring too late."""
        self.deadline = deadline
        if self.timer is None:
            self.timer = self.loop.call_at(deadline, self.ring)
        elif self.timer.when() > deadline:
            self.timer.cancel()
            self.timer = self.loop.call_at(deadline, self.ring)

    def ring(self) -> None:
        """End what has taken too long."""
        self.timer = None
        if self.loop.time() < self.deadline:
            if self.deadline < math.inf:
                self.timer = self.loop.call_at(self.deadline, self.ring)
        elif self.lingers or self.writable:
            # The client has taken nothing for that long.
            self.transport.abort()
        elif self.waiter:
            self.give_up_body()
        elif self.task is None and self.head_began:
            self.refuse(408)
        elif self.task is None:
            self.close()

    def stop_when_idle(self) -> None:
        """Close soon, unless the client goes on: the worker stops."""
        if self.task is None and not self.lingers:
            self.until(min(self.deadline, self.loop.time() + IDLE_AT_STOP))


def address_of(transport: asyncio.BaseTransport, end: str) -> tuple[str, int] | None:
    """Return the address and port of one end, without what IPv6 adds to it."""
    name = transport.get_extra_info(end)
    return tuple(name[:2]) if isinstance(name, tuple) else None


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]  # gunicorn is not typed
    """A process of the gateway."""

    def init_process(self) -> None:
        """Serve with `ClientConnection`: gunicorn's worker has its own in the module and offers no other way."""
        gasgi.ASGIProtocol = ClientConnection
        self.connections: set[ClientConnection] = set()
        super().init_process()

    async def _shutdown(self) -> None:
        """Let clients that are idle go, before those in use are waited for."""
        for connection in list(self.connections):
            connection.stop_when_idle()
        await super()._shutdown()
