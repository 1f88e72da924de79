"""A service's responses: `httptools` parses them strictly, and what it accepts is checked and bounded here."""

import asyncio
from typing import TYPE_CHECKING, Final

import httptools

from gateway.policy.headers import Headers, values
from gateway.policy.rejections import InvalidUpstreamResponse, UpstreamProtocolError

from .heads import MAX_HEAD, ResponseHead, ResponseMemo

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import ServiceConnection

# Bytes: a response of up to this size is complete before its headers are sent on, so that an incomplete one is a 502.
WHOLE: Final = 64 * 1024
# How many headers, and bytes of a body that wait for the client before the service's connection is no longer read.
MAX_HEADERS: Final = 256
HIGH_WATER: Final = 256 * 1024
VERSIONS: Final = frozenset({"1.1", "1.0"})
BODILESS: Final = frozenset({204, 304})


class ServiceResponse:
    """The response to one request, as it comes. `release` ends the exchange.

    `notify` is called once: when the response is ready to be sent on, or has failed.
    """

    __slots__ = (
        "body_sent", "buffered", "chunks", "connection", "error", "head", "is_head", "is_upgraded", "is_whole",
        "may_upgrade", "notify", "rest", "sending", "sent_at", "waiter",
    )  # fmt: skip

    def __init__(
        self,
        connection: "ServiceConnection",
        method: str,
        notify: "Callable[[], None] | None" = None,
        *,
        may_upgrade: bool = False,
    ) -> None:
        # `None` after the exchange.
        self.connection: ServiceConnection | None = connection
        self.is_head = method == "HEAD"
        self.may_upgrade = may_upgrade
        self.notify = notify
        # When the request was sent, by the loop's clock.
        self.sent_at = connection.loop.time()
        self.head: ResponseHead | None = None
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.is_whole = False
        # The service has accepted a WebSocket's handshake.
        self.is_upgraded = False
        self.error: Exception | None = None
        self.waiter: asyncio.Future[None] | None = None
        # The task that sends the rest of the request's body, and whether all of that is sent.
        self.sending: asyncio.Task[None] | None = None
        self.body_sent = True
        # What the service sent after a handshake's response, before there was a tunnel.
        self.rest = b""

    @property
    def status(self) -> int:
        """The status; 0 before it is known."""
        return self.head.status if self.head else 0

    @property
    def headers(self) -> Headers:
        return self.head.headers if self.head else []

    @property
    def is_streamed(self) -> bool:
        """Whether the headers are sent on before the body is complete."""
        return self.head is not None and (self.head.length is None or self.head.length > WHOLE)

    @property
    def is_ready(self) -> bool:
        return self.is_whole or self.error is not None or self.is_streamed

    @property
    def has_failed(self) -> bool:
        """Whether nothing of it can be sent on."""
        return self.error is not None and not (self.is_streamed and self.chunks)

    async def settled(self) -> None:
        while not self.is_ready:
            await self.wait()

    async def piece(self) -> bytes:
        """Return more of the body, nothing at its end; raise what failed."""
        while not (self.chunks or self.is_whole):
            if self.error:
                raise self.error
            await self.wait()
        return self.take()

    def take(self) -> bytes:
        chunks, self.chunks, self.buffered = self.chunks, [], 0
        if self.connection and not self.connection.reading:
            self.connection.read(True)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def wait(self) -> None:
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def changed(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)
        if self.notify and (self.is_whole or self.is_ready):
            notify, self.notify = self.notify, None
            notify()

    def release(self) -> bool:
        """End the exchange; return whether the connection is used again."""
        connection, self.connection, self.notify = self.connection, None, None
        if self.sending:
            self.sending.cancel()
            self.sending = None
        return connection is not None and connection.end(self)


class ResponseParser:
    """Parses the responses of one connection, one after the other, each into its `ServiceResponse`."""

    __slots__ = ("bytes_since_body", "connection", "fields", "keep_alive", "memo", "parser", "received", "response")

    def __init__(self, connection: "ServiceConnection", memo: ResponseMemo) -> None:
        self.connection = connection
        self.memo = memo
        self.parser = httptools.HttpResponseParser(self)
        self.fields: list[tuple[bytes, bytes]] = []
        self.keep_alive = False

    def begin(self, response: ServiceResponse) -> None:
        self.response = response
        self.keep_alive = False
        self.received = 0
        # Bytes since the last of a body: a head's, a trailer's, or a chunk's extension.
        self.bytes_since_body = 0

    def feed(self, data: bytes) -> None:
        response = self.response
        is_first = self.received == 0
        if is_first and not response.is_head and (head := self.memo.recall(data)):
            self.received = len(data)
            response.head = head
            if head.length:
                response.chunks.append(data[-head.length :])
            self.keep_alive = response.is_whole = True
            response.changed()
            return
        self.received += len(data)
        self.bytes_since_body += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            # Raised after a response that switches protocols, with the position of its end.
            response.rest = data[exc.args[0] :]
            if not response.is_upgraded:
                self.connection.fail(UpstreamProtocolError(self.connection.service))
                return
        except httptools.HttpParserError:
            # After a complete response the connection is only closed.
            if not response.is_whole:
                self.connection.fail(UpstreamProtocolError(self.connection.service))
            self.keep_alive = False
        if self.bytes_since_body > MAX_HEAD and not (response.is_whole or response.is_upgraded):
            # A head, a trailer or a chunk's extension without an end: the parser keeps it.
            self.connection.fail(UpstreamProtocolError(self.connection.service))
        if is_first and response.head is not None and response.is_whole and self.keep_alive:
            self.memo.remember(data, response.head)
        # Not before the parser returns: the connection may be used again at once.
        response.changed()

    def feed_eof(self) -> None:
        """End a response that ends with the connection."""
        self.keep_alive = False
        response = self.response
        if response.head is not None and response.head.until_close and response.error is None:
            self.on_message_complete()
            response.changed()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.response.is_whole:
            self.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are dropped (RFC 9110, section 6.5.1).

        The gateway sets `X-Request-ID`; with the service's, no two responses would have the same headers.
        """
        if self.response.head is None and name.lower() != b"x-request-id":
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        response = self.response
        if response.is_whole:
            return
        status, version = self.parser.get_status_code(), self.parser.get_http_version()
        fields, self.fields = self.fields, []
        if (status < 100) or len(fields) > MAX_HEADERS:
            raise InvalidUpstreamResponse("head")
        if status == 101:
            self.check_upgrade(fields)
        elif status < 200:
            # An interim response (RFC 9110, section 15.2).
            return
        if version not in VERSIONS:
            raise InvalidUpstreamResponse("version")
        self.keep_alive = self.parser.should_keep_alive()
        response.is_upgraded = status == 101
        bodiless = response.is_head or status in BODILESS
        response.head = ResponseHead(status, fields, bodiless=bodiless, version=version)
        self.connection.head_received(response)
        if response.is_head:
            # The parser expects a body.
            self.parser = httptools.HttpResponseParser(self)
            self.on_message_complete()

    def check_upgrade(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Raise `InvalidUpstreamResponse` unless a WebSocket was asked for, and nothing else is accepted."""
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        if not self.response.may_upgrade or [value.lower() for value in values(pairs, "upgrade")] != ["websocket"]:
            raise InvalidUpstreamResponse("101")

    def on_body(self, body: bytes) -> None:
        self.bytes_since_body = 0
        response = self.response
        if response.is_whole:
            self.keep_alive = False
            return
        response.chunks.append(body)
        response.buffered += len(body)
        if response.buffered > HIGH_WATER and response.is_streamed:
            self.connection.read(False)

    def on_message_complete(self) -> None:
        response = self.response
        if response.head is not None and not response.is_whole and not response.is_upgraded:
            response.is_whole = True
            # The service reads no more of the request's body.
            self.connection.resume_writing()
