"""Requests as they come from a client: `httptools` parses them, and what it lets through is bounded here."""

import re
from collections import deque
from typing import Final, Protocol

import httptools

from .patience import Patience

# Bytes of a request line, of a header field, and of a whole head; how many fields.
MAX_TARGET: Final = 8190
MAX_FIELD: Final = 8190
MAX_HEAD: Final = 64 * 1024
MAX_FIELDS: Final = 100
# Bytes of a body, or of further requests, that wait here before the client is read from no more.
HIGH_WATER: Final = 256 * 1024
# Bytes that are parsed at once: of many requests at once the rest stays as it came, at a tenth of the memory.
SLICE: Final = 8 * 1024
# Bytes: smaller pieces of a body are joined, as an object costs more than what it holds.
SMALL: Final = 4 * 1024

# One that is well formed, whatever its method.
REQUEST_LINE = re.compile(rb"(?:\r\n)*[!#$%&'*+.^_`|~0-9A-Za-z-]+ (?P<path>[!-~]+?)(?:\?[!-~]*)? HTTP/1\.[0-9]\r\n")
# Of the other protocols whose requests the parser takes.
OTHER_PROTOCOLS = re.compile(rb"^(?P<method>\S+) (?P<target>\S+) (?:RTSP|ICE)/", re.MULTILINE)
# A transfer coding's name (RFC 9112, section 7); what follows it are parameters.
CODING = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
# Of a Content-Length; `int` refuses thousands.
MAX_DIGITS: Final = 18
BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class RequestMessage:
    """A request as it comes: its head is whole, its body may not be."""

    __slots__ = (
        "buffered", "chunks", "complete", "ended", "expects", "fields", "framing", "keeps", "late", "method", "modern",
        "patience", "received", "size", "target", "to_come",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        # Bytes of the fields of the head.
        self.size = 0
        # The field that frames the body, as a line of its own.
        self.framing = b""
        self.modern = self.keeps = self.expects = False
        self.chunks: list[bytes | bytearray] = []
        self.buffered = self.received = 0
        # Bytes of the body that are still to come, where its length is known.
        self.to_come = 0
        # The clock, once the body is waited for.
        self.patience: Patience | None = None
        # The body is all here; it has been taken; the rest of it will not come.
        self.complete = self.ended = self.late = False

    def add(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        size = len(piece)
        self.buffered += size
        self.received += size
        self.to_come -= size
        if self.chunks and size < SMALL:
            last = self.chunks[-1]
            if isinstance(last, bytearray):
                last += piece
                return
            self.chunks.append(bytearray(piece))
        else:
            self.chunks.append(piece)

    def take(self) -> bytes:
        """Return what there is of the body, which is then no longer kept."""
        first = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        piece = first if isinstance(first, bytes) else bytes(first)
        self.chunks = []
        self.buffered = 0
        self.ended = self.complete
        return piece


class InvalidRequest(Exception):  # noqa: N818  # an outcome, which the parser carries through
    """The request is not one that this server takes; `status` says why, `path` is its path where that is known."""

    def __init__(self, status: int, path: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.path = path


class Reader(Protocol):
    """Whom the requests are for."""

    waiting: deque[RequestMessage]

    def request_begins(self, incoming: RequestMessage) -> None:
        """Take a request whose head is whole."""

    def request_goes_on(self, incoming: RequestMessage) -> None:
        """Look at more of a request's body, or at its end."""


class Requests:
    """The requests of one connection, in the order in which they come."""

    __slots__ = ("bytes_since_body", "coming", "head", "parser", "pending", "reader", "resumed", "upgrades")

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        # What has come of a head that is not whole yet; while the parser runs, with what it is given.
        self.head = b""
        self.parser: httptools.HttpRequestParser | None = None
        # The request being parsed.
        self.coming: RequestMessage | None = None
        # Bytes since the last that were a body's: a head's, a trailer's, or what stands between chunks.
        self.bytes_since_body = 0
        # A request asks for another protocol: the parser stops behind it. `pending` is what came after that.
        self.upgrades = False
        self.pending = b""
        # The parser has been given a head only to go on with a body.
        self.resumed = False

    def feed(self, data: bytes) -> None:
        """Take what the client sends; raise `InvalidRequest`."""
        if self.upgrades or self.pending:
            # Whether it is the other protocol's, or further requests, is known when the one before is answered.
            self.pending += data
            return
        if len(data) <= SLICE:
            self.parse(data)
            return
        at = 0
        while len(data) - at > SLICE and not self.is_body(len(data) - at):
            self.parse(data[at : at + SLICE])
            at += SLICE
            if self.reader.waiting or self.upgrades:
                self.pending += data[at:]
                return
        self.parse(data[at:])

    def is_body(self, size: int) -> bool:
        """Return whether that many bytes are all of one body, whose length is known."""
        return self.coming is not None and bool(self.coming.method) and self.coming.to_come >= size

    def parse(self, data: bytes) -> None:
        """Parse what the client sends; raise `InvalidRequest`."""
        if self.parser is None:
            self.parser = httptools.HttpRequestParser(self)
            # Each HTTP/1 is read as HTTP/1.1 (RFC 9110, section 2.5); the parser would take no other than 1.0 and 1.1.
            self.parser.set_dangerous_leniencies(lenient_version=True)
        self.bytes_since_body += len(data)
        self.head = self.head + data if self.head else data
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self.go_on_behind_upgrade(data[exc.args[0] :])
            return
        except httptools.HttpParserError as exc:
            raise refusal_of(exc, data) from exc
        coming = self.coming
        if coming is None or coming.method:
            self.head = b""
        if coming is not None and self.bytes_since_body > MAX_HEAD:
            # The parser keeps what has no end yet.
            raise InvalidRequest(400 if coming.method else 431 if coming.target else 414)

    def go_on_behind_upgrade(self, rest: bytes) -> None:
        """Keep what came behind a request for another protocol; or parse on, where that is the request's body."""
        coming = self.coming
        self.head = b""
        if coming is None or coming.complete:
            self.pending += rest
            return
        self.parser = httptools.HttpRequestParser(self)
        self.upgrades = False
        self.resumed = True
        self.feed(b"POST / HTTP/1.1\r\n" + coming.framing + b"\r\n" + rest)

    def stay(self) -> None:
        """Go on as HTTP/1.1 where the other protocol was not taken up: what came behind it are requests."""
        if self.upgrades:
            self.upgrades = False
            self.parser = None

    def go_on(self) -> None:
        """Parse more of what has come, unless it may be the other protocol's."""
        if self.pending and not self.upgrades:
            pending, self.pending = self.pending, b""
            self.feed(pending)

    def stop(self) -> None:
        """Take no more. The parser and this refer to each other: nothing waits for the collector to find that out."""
        self.parser = None
        self.coming = None
        self.pending = self.head = b""

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.bytes_since_body = 0
        if not self.resumed:
            self.coming = RequestMessage()

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the target."""
        coming = self.coming
        if coming is not None and not self.resumed:
            coming.target = coming.target + piece if coming.target else piece
            if len(coming.target) > MAX_TARGET:
                raise InvalidRequest(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field; a trailer is dropped (RFC 9110, section 6.5.1)."""
        coming = self.coming
        if coming is None or coming.method or self.resumed:
            return
        name = name.lower()
        # RFC 9112, section 5: the white space around it is no part of a value.
        value = value.strip(b" \t")
        fields = coming.fields
        fields.append((name, value))
        size = len(name) + len(value)
        coming.size += size
        if size > MAX_FIELD or coming.size > MAX_HEAD or len(fields) > MAX_FIELDS:
            raise InvalidRequest(431)
        if name in BODY_FIELDS:
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                # The parser takes any list that ends with it. What cannot be decoded here is refused, and as others
                # may see the body's end elsewhere, nothing follows it (RFC 9112, sections 6.1 and 6.3).
                raise InvalidRequest(501 if has_unknown_coding(value) else 400)
            if name == b"expect":
                coming.expects = True
            elif value != b"0":
                if name == b"content-length" and value.isdigit() and len(value) < MAX_DIGITS:
                    coming.to_come = int(value)
                coming.framing = b"%b: %b\r\n" % (name, value)

    def on_headers_complete(self) -> None:
        """Let the application answer, while the body may still be coming."""
        coming, parser = self.coming, self.parser
        if self.resumed or coming is None or parser is None:
            return
        version = parser.get_http_version()
        if not version.startswith("1."):
            raise InvalidRequest(505 if version > "1" else 400)
        if version == "1.0" and coming.framing.startswith(b"transfer-encoding"):
            # RFC 9112, section 6.1.
            raise InvalidRequest(400)
        method = parser.get_method()
        if is_other_protocol(self.head, method, coming.target):
            raise InvalidRequest(400)
        coming.method = method.decode("ascii")
        coming.modern = version != "1.0"
        self.upgrades = parser.should_upgrade()
        # Nobody promises an HTTP/1.0 client that the connection stays, so it does not; and what follows a CONNECT is
        # no request (RFC 9110, section 9.3.6).
        coming.keeps = coming.modern and parser.should_keep_alive() and coming.method != "CONNECT"
        coming.expects = coming.expects and coming.modern and bool(coming.framing)
        self.reader.request_begins(coming)

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body until it is asked for."""
        coming = self.coming
        self.bytes_since_body = 0
        if coming is None:
            return
        coming.expects = False
        coming.add(piece)
        self.reader.request_goes_on(coming)

    def on_message_complete(self) -> None:
        """Note that the body is whole."""
        coming = self.coming
        if coming is None or (self.upgrades and coming.framing and not self.resumed):
            # The parser takes the body of a request that asks for another protocol for that protocol's.
            return
        self.resumed = False
        self.coming = None
        coming.complete = True
        self.reader.request_goes_on(coming)


def is_other_protocol(head: bytes, method: bytes, target: bytes) -> bool:
    """Return whether the request line with that method and target is of another protocol than HTTP.

    The parser takes them too, and does not say so.
    """
    if b" RTSP/" not in head and b" ICE/" not in head:
        return False
    return any(line.groups() == (method, target) for line in OTHER_PROTOCOLS.finditer(head))


def has_unknown_coding(value: bytes) -> bool:
    """Return whether a well-formed `Transfer-Encoding` has another coding than `chunked` (RFC 9112, section 6.1)."""
    names = [coding.strip(b" \t") for coding in value.lower().split(b",")]
    return all(CODING.fullmatch(name) for name in names) and any(name != b"chunked" for name in names)


def refusal_of(exc: httptools.HttpParserError, data: bytes) -> InvalidRequest:
    """Return what the parser's error means."""
    if isinstance(exc.__context__, InvalidRequest):
        return exc.__context__
    if isinstance(exc, httptools.HttpParserInvalidMethodError) and (line := REQUEST_LINE.match(data)):
        return InvalidRequest(501, line["path"].decode())
    return InvalidRequest(400)
