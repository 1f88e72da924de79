"""The heads of services' responses: checked once, and reused while they repeat.

Most responses of a service repeat a head, apart from values that do not matter for the framing: `ETag`, `Date`, the
digits of `Content-Length`, ids. `ResponseMemo` recognizes them without the parser. A head is recalled only if each of
its bytes equals that of a head that was parsed and checked, or belongs to such a value, which is printable ASCII: every
parser reads it alike, and no decision of the gateway depends on it.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final, NamedTuple

from gateway.policy import compression, locations
from gateway.policy.headers import HOP_BY_HOP, Headers, from_upstream, values
from gateway.policy.rejections import InvalidUpstreamResponse
from gateway.policy.route_policies import ResponseView

# Bytes of a response's head.
MAX_HEAD: Final = 64 * 1024
# The client's connection has its own.
FRAMING: Final = frozenset({b"connection", b"transfer-encoding"})
# Headers whose values may not differ in a recalled head: what the gateway does with a response depends on them.
FIXED: Final = HOP_BY_HOP | {"vary", "via"}
# Of these too, and they are different in each response: such heads are not remembered.
UNIQUE: Final = locations.NAMES | {"set-cookie"}
# The form of a value that differs; a length is at most 99,999 bytes. A value does not begin or end with a space.
LENGTH: Final = rb"[0-9]{1,5}"
VALUE: Final = rb"[!-~][ -~]*(?<! )"
# A head without control characters, line breaks in values, or bytes outside of ASCII.
PLAIN: Final = re.compile(rb"HTTP/1\.1 [0-9]{3} [ -~]*(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*)+")
# Bytes of a head that is remembered, and how many heads of one address.
MAX_REMEMBERED_HEAD: Final = 2048
MAX_REMEMBERED: Final = 32
# Seconds in which nothing is remembered after so many different heads.
FULL_FOR: Final = 1.0


@dataclass(slots=True)
class HeaderBlock:
    """Headers as they are sent to a client: encoded, each after a line break, and what matters for the framing."""

    lines: bytes
    length: int | None
    has_date: bool
    # The content coding in which the gateway sends the content.
    coding: str | None = None

    def with_length(self, length: int) -> "HeaderBlock":
        """Return the headers for a content of this length, which they lack."""
        return replace(self, lines=b"%b\r\ncontent-length: %d" % (self.lines, length), length=length)


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


def encode_by(view: ResponseView, status: int, headers: Headers, *, bodiless: bool) -> HeaderBlock:
    headers = view.headers(headers)
    if not view.compresses:
        return encode_headers(status, headers)
    headers, coding = compression.applied(headers, status, view, bodiless=bodiless)
    return replace(encode_headers(status, headers), coding=coding)


class ResponseHead:
    """A response's status and headers; raises `InvalidUpstreamResponse` if they are malformed or ambiguous."""

    __slots__ = ("blocks", "bodiless", "has_locations", "known", "length", "pairs", "status", "until_close", "values")

    def __init__(self, status: int, fields: list[tuple[bytes, bytes]], *, bodiless: bool, version: str = "1.1") -> None:
        self.status = status
        # The response has no body, whatever its headers promise.
        self.bodiless = bodiless
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        lengths, codings = values(pairs, "content-length"), values(pairs, "transfer-encoding")
        size = sum(len(name) + len(value) for name, value in fields)
        # RFC 9112, section 6.3. The parser rejects several lengths, and a length beside a coding.
        if size > MAX_HEAD or [value.lower() for value in codings] not in ([], ["chunked"]):
            raise InvalidUpstreamResponse("framing")
        self.length = int(lengths[0]) if lengths else None
        self.until_close = not (bodiless or lengths or codings)
        self.pairs = from_upstream(pairs, version)
        self.has_locations = locations.are_in(self.pairs)
        # Of a recalled head, which has other values than `pairs`.
        self.known: KnownHead | None = None
        self.values: tuple[bytes, ...] = ()
        # Encoded, by the key of the view.
        self.blocks: dict[str, HeaderBlock] = {}

    @property
    def headers(self) -> Headers:
        return self.known.headers(self.values) if self.known else self.pairs

    @property
    def is_small(self) -> bool:
        """Whether no policy compresses the response, or changes its headers because it could."""
        return self.length is not None and self.length < compression.LEAST and self.status != compression.NOT_MODIFIED

    def block(self, view: ResponseView) -> HeaderBlock:
        """Return the encoded headers as they are changed for the client."""
        block = self.blocks.get(view.key)
        if block is None:
            # Whether a large response is compressed depends on the values that differ.
            if self.known is not None and (self.is_small or not view.compresses):
                text, chosen, has_date = self.known.text(view)
                block = HeaderBlock(text % chosen(self.values), self.length, has_date)
            else:
                block = encode_by(view, self.status, self.headers, bodiless=self.bodiless)
            self.blocks[view.key] = block
        return block


class Differing(str):
    """A value that differs from response to response: policies hand it on, and it is found among their headers."""

    __slots__ = ("place",)
    place: int


class HeadText(NamedTuple):
    """Encoded headers with a `%b` for each value that differs and is still there: what `chosen` returns of all."""

    text: bytes
    chosen: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]
    has_date: bool


class KnownHead:
    """A remembered head: a pattern of it in which some values may differ, and the current head of that pattern."""

    __slots__ = ("first", "head", "length_at", "names", "pattern", "raw", "texts")

    def __init__(self, raw: bytes, head: ResponseHead) -> None:
        self.raw = raw
        self.first = self.head = head
        # The names of the values that differ and that a client gets, in their order.
        self.names: list[str] = []
        received = {name.lower() for name, _ in head.pairs}
        lines = raw[:-4].split(b"\r\n")
        names = [line.partition(b":")[0].decode().lower() for line in lines]
        pattern = [re.escape(lines[0])]
        for line, name in zip(lines[1:], names[1:], strict=True):
            form = LENGTH if name == "content-length" else VALUE
            start, value = line[: len(name) + 2], line[len(name) + 2 :]
            if name in FIXED or names.count(name) > 1 or not start.endswith(b": ") or not re.fullmatch(form, value):
                pattern.append(re.escape(line))
            elif name in received:
                self.names.append(name)
                pattern.append(b"%b(%b)" % (re.escape(start), form))
            else:
                pattern.append(re.escape(start) + form)
        self.pattern = re.compile(b"\r\n".join([*pattern, b"\r\n"]))
        self.length_at = self.names.index("content-length") if "content-length" in self.names else None
        # By the key of the view.
        self.texts: dict[str, HeadText] = {}

    def match(self, data: bytes) -> bool:
        """Return whether the data begins with such a head, and take over its values."""
        if data.startswith(self.raw):
            return True
        found = self.pattern.match(data)
        if found is None:
            return False
        self.raw = found[0]
        self.head = head = object.__new__(ResponseHead)
        first = self.first
        head.status, head.bodiless, head.until_close, head.has_locations = first.status, False, False, False
        head.known, head.values, head.pairs, head.blocks = self, found.groups(), first.pairs, {}
        head.length = first.length if self.length_at is None else int(head.values[self.length_at])
        return True

    def text(self, view: ResponseView) -> HeadText:
        """Return the headers as they are changed for the client, prepared for the values that differ."""
        found = self.texts.get(view.key)
        if found is None:
            if len(self.texts) >= MAX_REMEMBERED:
                # Policies that were in force before.
                self.texts.clear()
            found = self.texts[view.key] = self.prepare(view)
        return found

    def prepare(self, view: ResponseView) -> HeadText:
        headers = view.headers([(name, self.differing(name, value)) for name, value in self.first.pairs])
        lines, places = [], []
        for name, value in headers:
            if isinstance(value, Differing):
                places.append(value.place)
            text = "%b" if isinstance(value, Differing) else value.replace("%", "%%")
            lines.append(f"\r\n{name.replace('%', '%%')}: {text}".encode("latin-1"))
        has_date = any(name.lower() == "date" for name, _ in headers)
        return HeadText(b"".join(lines), chosen(places, len(self.names)), has_date)

    def differing(self, name: str, value: str) -> str:
        """Return the value, marked with its place if it differs."""
        if name.lower() not in self.names:
            return value
        marked = Differing(value)
        marked.place = self.names.index(name.lower())
        return marked

    def headers(self, values: tuple[bytes, ...]) -> Headers:
        found = dict(zip(self.names, values, strict=True))
        return [
            (name, found[name.lower()].decode() if name.lower() in found else value) for name, value in self.first.pairs
        ]


def chosen(places: Sequence[int], count: int) -> Callable[[tuple[bytes, ...]], tuple[bytes, ...]]:
    """Return what returns the values at these places of so many."""
    if list(places) == list(range(count)):
        return tuple
    return itemgetter(*places) if len(places) > 1 else lambda values: tuple(values[place] for place in places)


class ResponseMemo:
    """The heads of one address's responses, the one that was recalled last first."""

    def __init__(self) -> None:
        self.known: list[KnownHead] = []
        # A pattern costs a millisecond, so a service whose heads are all different must not make one for each response.
        self.full_until = 0.0

    def recall(self, data: bytes) -> ResponseHead | None:
        """Return the head of the response that the data is all of, if it needs no parser."""
        for index, known in enumerate(self.known):
            if known.match(data):
                if index:
                    self.known.insert(0, self.known.pop(index))
                head = known.head
                return head if len(data) == len(known.raw) + (head.length or 0) else None
        return None

    def remember(self, data: bytes, head: ResponseHead) -> None:
        """Remember the head of a response that was parsed, if that is all of the data."""
        end = data.find(b"\r\n\r\n", 0, MAX_REMEMBERED_HEAD)
        if head.length is None or head.bodiless or head.has_locations or len(data) != end + 4 + head.length:
            return
        if not PLAIN.fullmatch(data, 0, end) or any(name.lower() in UNIQUE for name, _ in head.pairs):
            return
        if time.monotonic() < self.full_until:
            return
        self.known.insert(0, KnownHead(data[: end + 4], head))
        if len(self.known) >= MAX_REMEMBERED:
            self.known.clear()
            self.full_until = time.monotonic() + FULL_FOR
