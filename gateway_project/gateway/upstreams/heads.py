"""The heads of services' responses: checked once, and reused while they repeat.

Most responses of a service repeat a head, apart from values that do not matter for the framing: `ETag`, `Date`, the
digits of `Content-Length`, ids. `ResponseMemo` recognizes them without the parser. A head is recalled only if each of
its bytes equals that of a head that was parsed and checked, or belongs to such a value, which is printable ASCII: every
parser reads it alike, and no decision of the gateway depends on it.
"""

import re
from collections.abc import Hashable
from typing import Final, NamedTuple

from gateway.policy import locations
from gateway.policy.headers import HOP_BY_HOP, Headers, from_upstream, values, varying_by_accept
from gateway.policy.rejections import InvalidUpstreamResponse
from gateway.policy.route_policies import RoutePolicies

# Bytes of a response's head.
MAX_HEAD: Final = 64 * 1024
# The client's connection has its own.
FRAMING: Final = frozenset({b"connection", b"transfer-encoding"})
# Headers whose values may not differ in a recalled head: what the gateway does with a response depends on them.
FIXED: Final = HOP_BY_HOP | locations.NAMES | {"set-cookie", "vary"}
# The form of a value that differs; a length is at most 99,999 bytes.
LENGTH: Final = re.compile(rb"[0-9]{1,5}")
VALUE: Final = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
# A head without control characters, line breaks in values, or bytes outside of ASCII.
PLAIN: Final = re.compile(rb"HTTP/1\.1 [0-9]{3} [ -~]*(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*)+")
# Bytes of a head that is remembered, and how many heads of one address.
MAX_REMEMBERED_HEAD: Final = 2048
END: Final = b"\r\n\r\n"
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
        # Lines that replace those of `pairs`, by the bytes of their names.
        self.changes: dict[bytes, bytes] | None = None
        self.has_locations = locations.are_in(self.pairs)
        # Encoded, by `varies`, or by the policies that change them.
        self.blocks: dict[Hashable, HeaderBlock] = {}

    @property
    def headers(self) -> Headers:
        """The headers, as the client gets them."""
        if self.changes is not None:
            lines = [line.decode("ascii").strip().split(": ", 1) for line in self.changes.values()]
            changes, self.changes = dict(lines), None
            self.pairs = [(name, changes.get(name, value)) for name, value in self.pairs]
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

    def with_changes(self, changes: list[tuple[bytes, bytes, bytes]], length: int) -> "ResponseHead":
        """Return the same head with some of its lines replaced: each a name, the old and the new line."""
        head = object.__new__(ResponseHead)
        head.status, head.bodiless, head.until_close, head.has_locations = self.status, False, False, False
        head.length, head.pairs, head.blocks = length, self.pairs, {}
        head.changes = self.changes.copy() if self.changes else {}
        for name, _, line in changes:
            head.changes[name] = line
        for varies, block in self.blocks.items():
            # Where the policies of a route have changed a line, the service's own is not there to be replaced.
            if varies is True or varies is False:
                lines = block.lines
                for _, old, line in changes:
                    # No other line begins with the same name.
                    lines = lines.replace(old, line)
                head.blocks[varies] = HeaderBlock(lines, length, block.has_date)
        return head


class KnownHead:
    """A remembered head: its bytes and lines, and of each line that may differ the name and the form of the value."""

    __slots__ = ("forms", "head", "lines", "raw")

    def __init__(self, raw: bytes, lines: list[bytes], head: ResponseHead) -> None:
        self.raw = raw
        self.lines = lines
        self.head = head
        self.forms: list[tuple[bytes, re.Pattern[bytes]] | None] = []
        names = [line.partition(b":")[0].lower() for line in lines]
        for line, name in zip(lines, names, strict=True):
            form = LENGTH if name == b"content-length" else VALUE
            start = line[: len(name) + 2]
            may_differ = name.decode() not in FIXED and names.count(name) == 1
            is_plain = start.endswith(b": ") and form.fullmatch(line, len(start))
            self.forms.append((start, form) if may_differ and is_plain else None)

    def update(self, raw: bytes, lines: list[bytes]) -> bool:
        """Take over the lines that differ; return whether they may."""
        length, changes = self.head.length or 0, []
        for line, old, allowed in zip(lines, self.lines, self.forms, strict=True):
            if line == old:
                continue
            if allowed is None:
                return False
            start, form = allowed
            if not (line.startswith(start) and form.fullmatch(line, len(start))):
                return False
            if form is LENGTH:
                length = int(line[len(start) :])
            changes.append((start, b"\r\n" + old, b"\r\n" + line))
        self.head = self.head.with_changes(changes, length)
        self.raw, self.lines = raw, lines
        return True


class ResponseMemo:
    """The heads of one address's responses, by status and number of lines."""

    def __init__(self) -> None:
        self.known: dict[tuple[bytes, int], KnownHead] = {}
        # The one that was recalled last: a whole head that repeats is compared at once.
        self.last: KnownHead | None = None

    def recall(self, data: bytes) -> ResponseHead | None:
        """Return the head of the response that the data is all of, if it needs no parser."""
        known = self.last
        if known is None or not data.startswith(known.raw):
            end = data.find(END, 0, MAX_REMEMBERED_HEAD)
            lines = data[:end].split(b"\r\n")
            known = self.known.get((lines[0], len(lines)))
            if known is None or not known.update(data[: end + 4], lines):
                return None
            self.last = known
        head = known.head
        return head if len(data) == len(known.raw) + (head.length or 0) else None

    def remember(self, data: bytes, head: ResponseHead) -> None:
        """Remember the head of a response that was parsed, if that is all of the data."""
        end = data.find(END, 0, MAX_REMEMBERED_HEAD)
        if head.length is None or head.bodiless or head.has_locations or len(data) != end + 4 + head.length:
            return
        if not PLAIN.fullmatch(data, 0, end):
            return
        lines = data[:end].split(b"\r\n")
        if len(self.known) >= MAX_REMEMBERED:
            self.known.clear()
        self.known[lines[0], len(lines)] = KnownHead(data[: end + 4], lines, head)
