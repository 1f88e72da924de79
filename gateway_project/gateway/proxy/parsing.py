"""Parses a client's requests with `httptools`; what that accepts is checked and bounded here."""

import re
from collections import deque
from typing import Final, NamedTuple, Protocol

import httptools

from .header_blocks import KnownBlock, RequestMemo
from .invalid import UPGRADE_WITH_BODY, InvalidRequest, invalid_request
from .messages import BodyBuffer, RequestMessage

# Bytes of a request line.
MAX_TARGET: Final = 8190
# Bytes that are parsed at once: the rest of many pipelined requests waits unparsed, in a tenth of the memory.
SLICE: Final = 8 * 1024

# Of the other protocols whose requests the parser accepts.
OTHER_PROTOCOLS = re.compile(rb"^(?P<method>\S+) (?P<target>\S+) (?:RTSP|ICE)/", re.MULTILINE)
# A transfer coding's name (RFC 9112, section 7), without parameters.
CODING = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
# Of a Content-Length; `int` rejects thousands.
MAX_DIGITS: Final = 18
BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class HeaderBounds(NamedTuple):
    """Bytes of a whole head and of one field, and the number of fields."""

    head: int = 64 * 1024
    field: int = 8190
    fields: int = 100


BOUNDS: Final = HeaderBounds()


class Reader(Protocol):
    """Serves the requests."""

    address: str
    waiting: deque[RequestMessage]

    def serve(self) -> None:
        """Serve the requests that wait, each after the one before it."""

    def body_received(self, body: BodyBuffer) -> None:
        """Use what was received of a body, or its end."""


class RequestParser:
    """Parses the requests of one connection, in their order."""

    __slots__ = (
        "bytes_since_body", "expects", "head", "is_first", "is_framed", "last", "length", "max_field", "max_fields",
        "max_head", "memo", "message", "parser", "pending", "reader", "size", "unparsed", "upgrades",
    )  # fmt: skip

    def __init__(self, reader: Reader, memo: RequestMemo, bounds: HeaderBounds = BOUNDS) -> None:
        self.reader = reader
        self.max_head, self.max_field, self.max_fields = bounds
        self.memo = memo
        # The header block before, if it was recalled; and the body that follows such a block, while it is incomplete.
        self.last: KnownBlock | None = None
        self.unparsed: BodyBuffer | None = None
        self.parser: httptools.HttpRequestParser | None = None
        # What was received of an incomplete head; while the parser runs, with what it is given.
        self.head = b""
        # No request before the one being parsed is in `head`.
        self.is_first = True
        # The request being parsed, the bytes of its fields, and what they say of a body.
        self.message: RequestMessage | None = None
        self.size = 0
        self.length: int | None = 0
        self.is_framed = self.expects = False
        # Bytes since the last of a body: a head's, a trailer's, or a chunk's extension.
        self.bytes_since_body = 0
        # A request asks for another protocol: the parser stops after it. `pending` is what came later.
        self.upgrades = False
        self.pending = b""

    def feed(self, data: bytes) -> None:
        """Parse what the client sends, and have the requests served; raise `InvalidRequest`."""
        if self.upgrades or self.pending:
            # The other protocol's bytes, or further requests: known when the response before them is sent.
            self.pending += data
            return
        if self.unparsed is not None:
            data = self.take_body(self.unparsed, data)
        elif self.message is None and not self.head and self.recall(data):
            data = b""
        at, end = 0, len(data)
        while end - at > SLICE and not self.is_body(end - at):
            self.parse(data[at : at + SLICE])
            at += SLICE
            if self.is_body(end - at):
                # It is complete in a moment.
                break
            self.reader.serve()
            if self.reader.waiting or self.upgrades or self.parser is None:
                self.pending += data[at:]
                return
        if at < end:
            self.parse(data[at:] if at else data)
        self.reader.serve()

    def recall(self, data: bytes) -> bool:
        message = self.memo.recall(self.reader.address, data, self.last)
        if message is None:
            return False
        self.last = message.known
        self.reader.waiting.append(message)
        if message.body is not None and not message.body.is_complete:
            self.message, self.unparsed = message, message.body
        return True

    def take_body(self, body: BodyBuffer, data: bytes) -> bytes:
        """Keep what belongs to the body of a request that was recalled; return what follows."""
        piece, rest = (data, b"") if len(data) <= body.remaining else (data[: body.remaining], data[body.remaining :])
        body.add(piece)
        if not body.remaining:
            body.is_complete = True
            self.message = self.unparsed = None
        self.reader.body_received(body)
        return rest

    def is_body(self, size: int) -> bool:
        """Return whether that many bytes all belong to one body, whose length is known."""
        message = self.message
        return message is not None and message.body is not None and message.body.remaining >= size

    def parse(self, data: bytes) -> None:
        is_first = self.message is None and not self.head
        self.is_first = is_first or not self.head
        if self.parser is None:
            self.parser = httptools.HttpRequestParser(self)
            # Any HTTP/1 is read as HTTP/1.1 (RFC 9110, section 2.5); the parser would accept 1.0 and 1.1 only.
            self.parser.set_dangerous_leniencies(lenient_version=True)
        waiting = len(self.reader.waiting)
        self.bytes_since_body += len(data)
        self.head = self.head + data if self.head else data
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self.head = b""
            self.pending += data[exc.args[0] :]
            return
        except httptools.HttpParserError as exc:
            raise invalid_request(exc, data) from exc
        message = self.message
        if is_first and len(self.reader.waiting) == waiting + 1 and not (self.upgrades or self.expects):
            only = self.reader.waiting[-1]
            if message is None or message is only:
                self.memo.remember(self.reader.address, data, only)
        if message is None or message.method:
            self.head = b""
        if message is not None and self.bytes_since_body > self.max_head:
            # The parser keeps what has no end.
            raise InvalidRequest(400 if message.method else 431 if message.target else 414)

    def ignore_upgrade(self) -> None:
        """Go on with HTTP/1.1, as the other protocol was not accepted: what follows are requests."""
        if self.upgrades:
            self.upgrades = False
            self.parser = None

    def resume(self) -> None:
        """Parse more of what was received, unless it may be the other protocol's; raise `InvalidRequest`."""
        if self.pending and not self.upgrades:
            pending, self.pending = self.pending, b""
            self.feed(pending)

    def stop(self) -> None:
        """Parse no more. The parser and this refer to each other, and are freed without the collector."""
        self.parser = self.unparsed = None
        self.message = None
        self.pending = self.head = b""

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.bytes_since_body = self.size = 0
        self.length = 0
        self.is_framed = self.expects = False
        self.message = RequestMessage()

    def on_url(self, piece: bytes) -> None:
        message = self.message
        if message is not None:
            message.target = message.target + piece if message.target else piece
            if len(message.target) > MAX_TARGET:
                raise InvalidRequest(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field; trailers are dropped (RFC 9110, section 6.5.1)."""
        message = self.message
        if message is None or message.method:
            return
        name = name.lower()
        # RFC 9112, section 5: the white space around it does not belong to the value.
        value = value.strip(b" \t")
        fields = message.fields
        fields.append((name, value))
        size = len(name) + len(value)
        self.size += size
        if size > self.max_field or self.size > self.max_head or len(fields) > self.max_fields:
            raise InvalidRequest(431)
        if name in BODY_FIELDS:
            self.read_framing(name, value)

    def read_framing(self, name: bytes, value: bytes) -> None:
        """Note what the field says of the body: its length, `None` if it is chunked; raise `InvalidRequest`."""
        if name == b"expect":
            self.expects = True
            return
        if self.is_framed:
            # Two could take the body's end from different fields.
            raise InvalidRequest(400)
        self.is_framed = True
        if name == b"transfer-encoding":
            # The parser accepts any list that ends with chunked. What cannot be decoded here is rejected, and as others
            # may see the body's end elsewhere, nothing follows it (RFC 9112, sections 6.1 and 6.3).
            if value.lower() != b"chunked":
                raise InvalidRequest(501 if has_unknown_coding(value) else 400)
            self.length = None
        elif value.isdigit():
            self.length = int(value) if len(value) <= MAX_DIGITS else 10**MAX_DIGITS
        else:
            raise InvalidRequest(400)

    def on_headers_complete(self) -> None:
        """Have a request with a body served while that is still on its way."""
        message, parser = self.message, self.parser
        if message is None or parser is None:
            return
        version = parser.get_http_version()
        if not version.startswith("1."):
            raise InvalidRequest(505 if version > "1" else 400)
        if version == "1.0" and self.length is None:
            # RFC 9112, section 6.1.
            raise InvalidRequest(400)
        method = parser.get_method()
        line = b"%b %b HTTP/" % (method, message.target)
        if not (self.is_first and self.head.startswith(line)) and is_other_protocol(self.head, method, message.target):
            raise InvalidRequest(400)
        message.method = method.decode("ascii")
        message.http_1_1 = version != "1.0"
        self.upgrades = parser.should_upgrade()
        # HTTP/1.0 clients are not promised that the connection is kept, and what follows a CONNECT is no request
        # (RFC 9110, section 9.3.6).
        message.keep_alive = message.http_1_1 and parser.should_keep_alive() and message.method != "CONNECT"
        if self.length == 0:
            return
        if self.upgrades:
            # What follows could be read as the body or as the other protocol.
            raise InvalidRequest(400, detail=UPGRADE_WITH_BODY)
        message.body = BodyBuffer(self.length, expect_continue=self.expects and message.http_1_1)
        self.reader.waiting.append(message)

    def on_body(self, piece: bytes) -> None:
        self.bytes_since_body = 0
        if self.message is not None and self.message.body is not None:
            self.message.body.add(piece)
            self.reader.body_received(self.message.body)

    def on_message_complete(self) -> None:
        """Have a request without a body served, or complete the body."""
        message, self.message = self.message, None
        self.is_first = False
        if message is None:
            return
        if message.body is None:
            self.reader.waiting.append(message)
        else:
            message.body.is_complete = True
            self.reader.body_received(message.body)


def is_other_protocol(head: bytes, method: bytes, target: bytes) -> bool:
    """Return whether the request line with that method and target is of another protocol than HTTP.

    The parser accepts them too, and does not report it.
    """
    if b" RTSP/" not in head and b" ICE/" not in head:
        return False
    return any(line.groups() == (method, target) for line in OTHER_PROTOCOLS.finditer(head))


def has_unknown_coding(value: bytes) -> bool:
    """Return whether a well-formed `Transfer-Encoding` has another coding than `chunked` (RFC 9112, section 6.1)."""
    names = [coding.strip(b" \t") for coding in value.lower().split(b",")]
    return all(CODING.fullmatch(name) for name in names) and any(name != b"chunked" for name in names)
