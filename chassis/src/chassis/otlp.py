"""Spans in OTLP's encoding: messages of opentelemetry/proto/trace/v1/trace.proto in protobuf's wire format.

What many spans share, such as the attributes of a route, can be encoded before. So a span takes two microseconds.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from struct import Struct
from typing import Final

SERVER: Final = 2
CLIENT: Final = 3
# `Span.status` with STATUS_CODE_ERROR.
ERROR: Final = b"\x7a\x02\x18\x02"
# `Span.flags` in hexadecimal digits: recorded, and whether the parent is in another process.
_LOCAL: Final = "850101010000"
_REMOTE: Final = "850101030000"
# `start_time_unix_nano` and `end_time_unix_nano`, each behind its tag.
_times: Final = Struct("<BQBQ").pack


def varint(number: int) -> bytes:
    """Return a number that is not negative in groups of seven bits, the lowest first."""
    return _SMALL[number] if number < len(_SMALL) else _varint(number)


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


# Lengths of most spans.
_SMALL: Final = tuple(map(_varint, range(1024)))


def field(number: int, content: bytes) -> bytes:
    """Return a field that is a text or a message."""
    return b"%b%b%b" % (varint(number << 3 | 2), varint(len(content)), content)


@cache
def key(name: str) -> bytes:
    """Return the name of an attribute."""
    return field(1, name.encode())


def text(name: bytes, value: str) -> bytes:
    """Return an attribute of a span; `name` is its `key`."""
    content = value.encode(errors="replace")
    size, before = len(content), len(name)
    if size + before > 120:
        return field(9, name + field(2, field(1, content)))
    # Each length fits into one byte.
    return b"\x4a%c%b\x12%c\x0a%c%b" % (before + size + 4, name, size + 2, size, content)


def attributes(named: Mapping[str, str | int | None]) -> bytes:
    """Return attributes of a span, without those that are `None`."""
    return b"".join(
        text(key(name), value) if isinstance(value, str) else field(9, key(name) + field(2, b"\x18" + varint(value)))
        for name, value in named.items()
        if value is not None
    )


def described(name: str, kind: int) -> bytes:
    """Return the name and the kind of a span."""
    return field(5, name.encode()) + b"\x30" + varint(kind)


def span(  # noqa: PLR0917  # a span's parts
    trace_id: str, span_id: str, parent_id: str, started: int, ended: int, rest: bytes, *, remote: bool
) -> bytes:
    """Return a span; `rest` is what describes it, `remote` whether its parent is in another process.

    The ids are hexadecimal digits, the times nanoseconds. Without a parent, `parent_id` is empty.
    """
    parent = f"2208{parent_id}{_REMOTE if remote else _LOCAL}" if parent_id else _LOCAL
    known = bytes.fromhex(f"0a10{trace_id}1208{span_id}{parent}")
    return b"\x12%b%b%b%b" % (varint(len(known) + 18 + len(rest)), known, _times(0x39, started, 0x41, ended), rest)


def resource(named: Mapping[str, str]) -> bytes:
    """Return what has made the spans."""
    pairs = (field(1, key(name) + field(2, field(1, value.encode()))) for name, value in named.items())
    return field(1, b"".join(pairs))


def request(about: bytes, scope: str, spans: Sequence[bytes]) -> bytes:
    """Return the message that exports spans of a `resource`."""
    named = field(1, field(1, scope.encode()))
    # Without `field`, which would copy them.
    scoped = b"\x12%b%b" % (varint(len(named) + sum(map(len, spans))), named)
    size = len(about) + len(scoped) + sum(map(len, spans))
    return b"".join([b"\x0a", varint(size), about, scoped, *spans])
