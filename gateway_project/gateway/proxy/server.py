"""The clients' side: HTTP/1.1 connections, served by gunicorn's ASGI worker.

gunicorn forks, reloads and stops the workers; `httptools` parses requests. A connection is `ClientConnection`, not
gunicorn's own: it bounds the time that a request's head may take, answers what is malformed with a problem document,
lets a WebSocket take it over, keeps little for an idle client, and takes a third of the time for a request.
"""

import asyncio
import json
import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
import uvloop
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
# Bytes of a request line, of a header field, and of a whole head; how many fields.
LONGEST_TARGET: Final = 8190
LONGEST_FIELD: Final = 8190
LARGEST_HEAD: Final = 64 * 1024
MOST_FIELDS: Final = 100
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
    501: "Expected a method that HTTP knows.",
    505: "Expected HTTP/1.1 or HTTP/1.0.",
}
# One that is well formed, whatever its method.
REQUEST_LINE = re.compile(rb"(?:\r\n)*[!#$%&'*+.^_`|~0-9A-Za-z-]+ (?P<path>[!-~]+?)(?:\?[!-~]*)? HTTP/1\.[01]\r\n")
STATUS_LINES: Final[dict[int, bytes]] = {
    status: f"HTTP/1.1 {status:d} {status.phrase}\r\n".encode() for status in HTTPStatus
}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
VERSIONS: Final = frozenset({"1.1", "1.0"})
BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
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


class Incoming:
    """A request as it comes: its head is whole, its body may not be."""

    __slots__ = (
        "buffered", "chunks", "complete", "ended", "expects", "fields", "framing", "keeps", "late", "method", "modern",
        "size", "target",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        # Bytes of the head, as far as they are known.
        self.size = 0
        # The field that frames the body, as a line of its own.
        self.framing = b""
        self.modern = self.keeps = self.expects = False
        self.chunks: list[bytes] = []
        self.buffered = 0
        # The body is all here; it has been taken; the rest of it will not come.
        self.complete = self.ended = self.late = False


class Unacceptable(Exception):  # noqa: N818  # an outcome, which the parser carries through
    """The request is not one that this server takes; `status` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ClientConnection(asyncio.Protocol):
    """A client's connection: requests in, answers out in their order, one under way at a time."""

    __slots__ = (
        "chunked", "closed", "coming", "current", "deadline", "finished", "head", "heard", "left", "lingers", "loop",
        "parser", "peer", "pending", "reading", "resumed", "server", "silent", "started", "task", "timer", "transport",
        "tunnel", "upgrades", "waiter", "waiting", "worker", "writable",
    )  # fmt: skip

    def __init__(self, worker: Any) -> None:  # noqa: ANN401  # gunicorn's
        self.worker = worker
        self.loop: asyncio.AbstractEventLoop = worker.loop
        self.parser: httptools.HttpRequestParser | None = None
        # The request being parsed; the one being answered; those that wait for their turn.
        self.coming: Incoming | None = None
        self.current: Incoming | None = None
        self.waiting: deque[Incoming] = deque()
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.tunnel: Tunnel | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.writable: asyncio.Future[None] | None = None
        # What the door has found out about the headers of the last request: the next one often has the same.
        self.heard: Any = None
        self.closed = self.lingers = self.started = self.finished = False
        # The request asks for another protocol: the parser stops behind it. `pending` is what came after that.
        self.upgrades = False
        self.pending = b""
        # The parser has been given a head only to go on with a body.
        self.resumed = False
        self.reading = True
        self.head = b""
        self.left: int | None = None
        self.chunked = False

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
        # The two refer to each other; nothing waits for the collector to find that out.
        self.parser = None
        if self.tunnel:
            self.tunnel.feed_eof()
        elif self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        if self.tunnel:
            self.tunnel.feed_data(data)
        elif self.upgrades:
            # Whether this is the other protocol's, or further requests, is known when this one is answered.
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

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if not self.resumed:
            self.coming = Incoming()

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the target."""
        coming = self.coming
        if coming is not None and not self.resumed:
            coming.target = coming.target + piece if coming.target else piece
            if len(coming.target) > LONGEST_TARGET:
                raise Unacceptable(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field; a trailer is dropped (RFC 9110, section 6.5.1)."""
        coming = self.coming
        if coming is None or coming.method or self.resumed:
            return
        name = name.lower()
        fields = coming.fields
        fields.append((name, value))
        if len(name) + len(value) > LONGEST_FIELD or len(fields) > MOST_FIELDS:
            raise Unacceptable(431)
        if name in BODY_FIELDS:
            if name == b"expect":
                coming.expects = True
            elif value != b"0":
                coming.framing = b"%b: %b\r\n" % (name, value)

    def on_headers_complete(self) -> None:
        """Let the application answer, while the body may still be coming."""
        coming, parser = self.coming, cast("httptools.HttpRequestParser", self.parser)
        if self.resumed or coming is None:
            return
        version = parser.get_http_version()
        if version not in VERSIONS:
            raise Unacceptable(505 if version > "1.1" else 400)
        if version == "1.0" and coming.framing.startswith(b"transfer-encoding"):
            # RFC 9112, section 6.1.
            raise Unacceptable(400)
        coming.method = parser.get_method().decode("ascii")
        coming.modern = version == "1.1"
        self.upgrades = parser.should_upgrade()
        # Nobody promises an HTTP/1.0 client that the connection stays, so it does not; and what follows a CONNECT is
        # no request (RFC 9110, section 9.3.6).
        coming.keeps = coming.modern and parser.should_keep_alive() and coming.method != "CONNECT"
        coming.expects = coming.expects and coming.modern and bool(coming.framing)
        if self.current is None:
            self.answer(coming)
        else:
            self.waiting.append(coming)
            self.read(False)

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body until it is asked for."""
        coming = self.coming
        if coming is None:
            return
        coming.expects = False
        coming.chunks.append(piece)
        coming.buffered += len(piece)
        if coming.buffered > HIGH_WATER:
            self.read(False)
        if coming is self.current:
            self.wake()

    def on_message_complete(self) -> None:
        """Note that the body is whole."""
        coming = self.coming
        if coming is None or (self.upgrades and coming.framing and not self.resumed):
            # The parser takes the body of a request that asks for another protocol for that protocol's.
            return
        self.resumed = False
        self.coming = None
        coming.complete = True
        if coming is self.current:
            self.wake()

    # Requests.

    def feed(self, data: bytes) -> None:
        """Parse more."""
        if self.parser is None:
            self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self.go_on_behind_upgrade(data[exc.args[0] :])
            return
        except httptools.HttpParserError as exc:
            self.malformed(exc, data)
            return
        coming = self.coming
        if coming is not None and not coming.method:
            self.wait_for_head(coming, len(data))
        elif coming is None and self.current is None and not self.lingers:
            # White space before a request, which the parser skips.
            self.until(min(self.deadline, self.loop.time() + HEAD_WITHIN))

    def wait_for_head(self, coming: Incoming, size: int) -> None:
        """Bound the head that is coming, in time and size."""
        if coming.size == 0 and self.current is None:
            self.until(self.loop.time() + HEAD_WITHIN)
        coming.size += size
        if coming.size > LARGEST_HEAD:
            self.refuse_next(431 if coming.target else 414)

    def go_on_behind_upgrade(self, rest: bytes) -> None:
        """Keep what came behind a request for another protocol; or parse on, where that is the request's body."""
        coming = self.coming
        if coming is None or coming.complete:
            self.pending += rest
            return
        self.parser = httptools.HttpRequestParser(self)
        self.upgrades = False
        self.resumed = True
        self.feed(b"POST / HTTP/1.1\r\n" + coming.framing + b"\r\n" + rest)

    def malformed(self, exc: Exception, data: bytes) -> None:
        """Answer what the parser has refused, and close."""
        status, path = 400, ""
        if isinstance(exc, httptools.HttpParserInvalidMethodError) and (line := REQUEST_LINE.match(data)):
            status, path = 501, line["path"].decode()
        elif isinstance(exc.__context__, Unacceptable):
            status = exc.__context__.status
        self.refuse_next(status, path)

    def refuse_next(self, status: int, path: str = "") -> None:
        """Refuse what is being parsed: at once, or after the answers that come before it."""
        coming, self.coming = self.coming, None
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

    def answer(self, incoming: Incoming) -> None:
        """Let the application answer."""
        self.current = incoming
        self.started = self.finished = False
        self.deadline = math.inf
        path, _, query = incoming.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if incoming.modern else "1.0",
            "method": incoming.method,
            "scheme": "https" if self.worker.cfg.is_ssl else "http",
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
        elif not self.started:
            self.refuse(500)
        elif not self.finished:
            # An answer without its end must not look like a whole one.
            self.transport.abort() if self.left is None and not self.chunked else self.transport.close()
        elif not (current.keeps and current.complete):
            self.close()
        elif self.waiting:
            following = self.waiting.popleft()
            self.read(not self.waiting and following.buffered <= HIGH_WATER)
            self.answer(following)
        else:
            self.idle()

    def idle(self) -> None:
        """Wait for the next request."""
        self.read(True)
        self.until(self.loop.time() + (self.worker.cfg.keepalive if self.worker.alive else IDLE_AT_STOP))
        if self.upgrades:
            # Not taken up: what came behind it are requests.
            self.upgrades = False
            self.parser = None
            pending, self.pending = self.pending, b""
            if pending:
                self.feed(pending)

    async def receive(self) -> dict[str, Any]:
        """Return a piece of the body, or that there is nothing more to come (ASGI)."""
        current = cast("Incoming", self.current)
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
        piece = current.chunks[0] if len(current.chunks) == 1 else b"".join(current.chunks)
        current.chunks = []
        current.buffered = 0
        current.ended = current.complete
        if not self.waiting:
            self.read(len(self.pending) <= HIGH_WATER)
        return {"type": "http.request", "body": piece, "more_body": not current.complete}

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
        while self.writable and not self.closed:
            self.until(self.loop.time() + self.worker.cfg.timeout)
            await asyncio.shield(self.writable)
            self.deadline = math.inf

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Make the head, which goes out with the first piece of the body."""
        lines = [STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
        dated = False
        self.left = None
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
        current = self.current
        modern = current is None or current.modern
        self.silent = (current is not None and current.method == "HEAD") or status in WITHOUT_BODY
        self.chunked = self.left is None and not self.silent and modern
        if self.chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        # RFC 9112, section 9.6: where the request has not been read to its end, nothing can follow it.
        keeps = current is not None and current.keeps and current.complete and self.worker.alive
        if current is not None:
            current.keeps = keeps
            current.expects = False
        if not keeps:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.head = b"".join(lines)
        self.started = True

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
        if self.pending:
            tunnel.feed_data(self.pending)
            self.pending = b""
        return tunnel

    def refuse(self, status: int, path: str = "") -> None:
        """Answer with a problem of the connection's own, unless there is half an answer already, and close."""
        if (self.started and not self.finished) or self.tunnel:
            self.transport.abort()
            return
        request_id = request_id_from(None)
        members = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": EXPECTED[status],
            "instance": path,
            "request_id": request_id,
            "origin": "gateway",
        }
        content = json.dumps(members, separators=(",", ":")).encode()
        self.current = None
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
        self.pending = b""
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
        elif self.task is None and self.coming is not None:
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


class Loop(uvloop.Loop):
    """An event loop whose servers keep the backlog of gunicorn's socket: uvloop would cut it to 100."""

    backlog = 2048

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:  # noqa: ANN401  # asyncio's
        """Start a server."""
        return cast("asyncio.Server", await super().create_server(*args, **kwargs | {"backlog": self.backlog}))


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]  # gunicorn is not typed
    """A process of the gateway."""

    def init_process(self) -> None:
        """Serve with `ClientConnection`: gunicorn's worker has its own in the module and offers no other way."""
        gasgi.ASGIProtocol = ClientConnection
        self.connections: set[ClientConnection] = set()
        super().init_process()

    def _setup_event_loop(self) -> None:
        self.loop = Loop()
        self.loop.backlog = self.cfg.backlog
        asyncio.set_event_loop(self.loop)

    def handle_exit_signal(self) -> None:
        """Stop gracefully: take no more connections, and let those that are idle go before the others are awaited."""
        super().handle_exit_signal()
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.stop_when_idle()
