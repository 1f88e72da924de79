"""The heads of services' responses: checked once, and reused while they repeat.

Most responses of a service repeat a head, apart from values that do not matter for the framing: `ETag`, `Date`, the
digits of `Content-Length`, the request id. `ResponseMemo` recognizes them without the parser. A head is recalled only
if each of its bytes equals that of a head that was parsed and checked, or belongs to such a value and has a form that
every parser reads alike.
"""

import re
from collections.abc import Hashable
from typing import Final, NamedTuple

from gateway.policy import locations
from gateway.policy.headers import Headers, from_upstream, values, varying_by_accept
from gateway.policy.rejections import InvalidUpstreamResponse
from gateway.policy.route_policies import RoutePolicies

# Bytes of a response's head.
MAX_HEAD: Final = 64 * 1024
# The client's connection has its own.
FRAMING: Final = frozenset({b"connection", b"transfer-encoding"})
# What may differ in a recalled head, by its name; a length is at most 99,999 bytes.
LENGTH: Final = re.compile(rb"[0-9]{1,5}")
VARYING: Final = {
    b"content-length": LENGTH,
    b"date": re.compile(rb"[A-Za-z]{3}, [0-9]{2} [A-Za-z]{3} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"),
    b"etag": re.compile(rb'(?:W/)?"[!#-~]{0,200}"'),
    b"x-request-id": re.compile(rb"[A-Za-z0-9._-]{1,200}"),
}
# A head without control characters, line breaks in values, or bytes outside of ASCII.
PLAIN: Final = re.compile(rb"HTTP/1\.1 [0-9]{3} [ -~]*(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*)+")
# Bytes of a head that is remembered, and how many heads of one address.
MAX_REMEMBERED_HEAD: Final = 2048
MAX_REMEMBERED: Final = 32


class HeaderBlock(NamedTuple):
    """Headers as they are sent to a client: encoded, each after a line break, and what matters for the framing."""

    lines: bytes
    length: int | None
    has_date: bool


def encode_headers(status: int, headers: Headers) -> HeaderBlock:
    """Return the headers, encoded, without those that the client's connection sets."""
    lines: list[bytes] = []
    length, has_date = None, False
    for text, value in headers:
        name = text.encode("latin-1")
        lower = name.lower()
        if lower in FRAMING:
            continue
        if lower == b"content-length":
            # RFC 9110, section 8.6.
            if status == 204:
                continue
            length = int(value)
        has_date = has_date or lower == b"date"
        lines += (b"\r\n", name, b": ", value.encode("latin-1"))
    return HeaderBlock(b"".join(lines), length, has_date)


class ResponseHead:
    """A response's status and headers; raises `InvalidUpstreamResponse` if they are malformed or ambiguous."""

    __slots__ = ("blocks", "bodiless", "changes", "has_locations", "length", "pairs", "status", "until_close")

    def __init__(self, status: int, fields: list[tuple[bytes, bytes]], *, bodiless: bool, version: str = "1.1") -> None:
        self.status = status
        # The response has no body, whatever its headers promise.
        self.bodiless = bodiless
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        lengths, codings = values(pairs, "content-length"), values(pairs, "transfer-encoding")
        size = sum(len(name) + len(value) for name, value in fields)
        # RFC 9112, section 6.3. The parser refuses several lengths, and a length beside a coding.
        if size > MAX_HEAD or [value.lower() for value in codings] not in ([], ["chunked"]):
            raise InvalidUpstreamResponse("framing")
        self.length = int(lengths[0]) if lengths else None
        self.until_close = not (bodiless or lengths or codings)
        self.pairs = from_upstream(pairs, version)
        # Values that replace those of `pairs`, by name.
        self.changes: dict[str, str] | None = None
        self.has_locations = locations.are_in(self.pairs)
        # Encoded, by `varies`, or by the policies that change them.
        self.blocks: dict[Hashable, HeaderBlock] = {}

    @property
    def headers(self) -> Headers:
        """The headers, as the client gets them."""
        if self.changes is not None:
            changes, self.changes = self.changes, None
            self.pairs = [(name, changes.get(name.lower(), value)) for name, value in self.pairs]
        return self.pairs

    def block(self, *, varies: bool) -> HeaderBlock:
        """Return the encoded headers; if it `varies`, a browser would get a page instead."""
        block = self.blocks.get(varies)
        if block is None:
            headers = varying_by_accept(self.headers) if varies else self.headers
            block = self.blocks[varies] = encode_headers(self.status, headers)
        return block

    def block_by(self, policies: RoutePolicies, origin: str | None, *, varies: bool) -> HeaderBlock:
        """Return the encoded headers as the route's policies change them for a page of the origin."""
        key = (policies, policies.variant(origin), varies)
        block = self.blocks.get(key)
        if block is None:
            headers = varying_by_accept(self.headers) if varies else self.headers
            block = self.blocks[key] = encode_headers(self.status, policies.response(headers, origin))
        return block

    def with_changes(self, changes: list[tuple[bytes, bytes]], length: int) -> "ResponseHead":
        """Return the same head with some of its lines replaced. No other line begins with the same name."""
        head = object.__new__(ResponseHead)
        head.status, head.bodiless, head.until_close, head.has_locations = self.status, False, False, False
        head.length, head.pairs, head.blocks = length, self.pairs, {}
        head.changes = dict(self.changes) if self.changes else {}
        for _, line in changes:
            name, _, value = line.decode("ascii").partition(": ")
            head.changes[name.lower()] = value
        for varies, block in self.blocks.items():
            lines = block.lines
            for old, new in changes:
                lines = lines.replace(b"\r\n" + old, b"\r\n" + new)
            head.blocks[varies] = HeaderBlock(lines, length, block.has_date)
        return head


class KnownHead(NamedTuple):
    """A remembered head: its lines, and of those that may differ, the prefix and the form of the value."""

    lines: list[bytes]
    varying: list[tuple[bytes, re.Pattern[bytes]] | None]
    head: ResponseHead


class ResponseMemo:
    """The heads of one address's responses, by status and number of lines."""

    def __init__(self) -> None:
        self.known: dict[tuple[bytes, int], KnownHead] = {}

    def recall(self, data: bytes) -> ResponseHead | None:
        """Return the head of the response that the data is all of, if it needs no parser."""
        end = data.find(b"\r\n\r\n", 0, MAX_REMEMBERED_HEAD)
        lines = data[:end].split(b"\r\n")
        known = self.known.get((lines[0], len(lines)))
        if known is None:
            return None
        head = known.head
        if lines != known.lines:
            changed = self.changed(known, lines)
            if changed is None:
                return None
            head = changed
            # The next one often has the same date.
            self.known[lines[0], len(lines)] = KnownHead(lines, known.varying, head)
        return head if len(data) == end + 4 + (head.length or 0) else None

    @staticmethod
    def changed(known: KnownHead, lines: list[bytes]) -> ResponseHead | None:
        """Return the head with the lines that differ, `None` unless all of them may."""
        length, changes = known.head.length or 0, []
        for line, old, varying in zip(lines, known.lines, known.varying, strict=True):
            if line != old:
                if varying is None:
                    return None
                prefix, form = varying
                if not (line.startswith(prefix) and form.fullmatch(line, len(prefix))):
                    return None
                if form is LENGTH:
                    length = int(line[len(prefix) :])
                changes.append((old, line))
        return known.head.with_changes(changes, length)

    def remember(self, data: bytes, head: ResponseHead) -> None:
        """Remember the head of a response that was parsed, if that is all of the data."""
        end = data.find(b"\r\n\r\n", 0, MAX_REMEMBERED_HEAD)
        if head.length is None or head.bodiless or head.has_locations or len(data) != end + 4 + head.length:
            return
        if not PLAIN.fullmatch(data, 0, end):
            return
        lines = data[:end].split(b"\r\n")
        names = [line.partition(b":")[0].lower() for line in lines]
        varying: list[tuple[bytes, re.Pattern[bytes]] | None] = []
        for line, name in zip(lines, names, strict=True):
            form, prefix = VARYING.get(name), line[: len(name) + 2]
            may_vary = form and prefix.endswith(b": ") and form.fullmatch(line, len(prefix)) and names.count(name) == 1
            varying.append((prefix, form) if form and may_vary else None)
        if len(self.known) >= MAX_REMEMBERED:
            self.known.clear()
        self.known[lines[0], len(lines)] = KnownHead(lines, varying, head)
