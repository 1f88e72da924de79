"""A request's path in the one form that routes are matched with, and that is forwarded.

Whatever two servers could read differently is refused: the gateway must not decide on one thing and the service serve
another.
"""

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from .refusals import BadRequest

LONGEST: Final = 8192

# How often a path may turn out to be encoded once more. Nobody needs three times; without a bound a path of the
# longest size could take thousands of rounds.
DEEPEST: Final = 8

ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
ENCODED_SEPARATOR = re.compile(r"%(?:2[Ff]|5[Cc])")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# A path parameter (`..;x=1`) does not make the segment another for the servers that know them.
DOT_SEGMENT = re.compile(r"(?:^|[/\\])\.\.?(?:;[^/\\]*)?(?=[/\\]|$)")

# Paths that are what they seem, as nearly all are: no escapes, and no segment that begins with a dot.
PLAIN = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)+/?")

ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*)")

# RFC 3986, section 3.3: what a segment may hold as it is, and the slash between them.
LITERAL: Final = "!$&'()*+,;=:@-._~/"


def origin_form(target: str) -> tuple[str, str | None]:
    """Return a target's path, and its authority where it has one: a client may send both (RFC 9112, section 3.2.2)."""
    found = ABSOLUTE.match(target)
    return (target[found.end() :] or "/", found["authority"]) if found else (target, None)


def canonical(raw: str) -> str:
    """Return the decoded path of a request target's path as sent; raise `BadRequest` if it is ambiguous.

    `raw` holds the bytes as sent, each as one character (latin-1), without the query.
    """
    if len(raw) <= LONGEST and PLAIN.fullmatch(raw):
        return raw
    if not raw.startswith("/"):
        raise BadRequest("Expected a path that starts with /.")
    if len(raw) > LONGEST:
        raise BadRequest(f"Expected a path of at most {LONGEST} bytes.")
    if not raw.isascii():
        raise BadRequest("Expected characters outside of ASCII percent-encoded as UTF-8 in the path.")
    if "?" in raw or "#" in raw:
        raise BadRequest("Expected a path without a query or fragment.")
    if BAD_ESCAPE.search(raw):
        raise BadRequest("Expected two hexadecimal digits after each % in the path.")
    if "\\" in raw or ENCODED_SEPARATOR.search(raw):
        raise BadRequest("Expected a path without backslashes and without encoded slashes.")
    path = decoded(raw)
    if "//" in path:
        raise BadRequest("Expected a path without empty segments.")
    if CONTROL.search(path):
        raise BadRequest("Expected a path without control characters.")
    refuse_dot_segments(path)
    return path


def decoded(raw: str) -> str:
    """Return the path decoded once; raise `BadRequest` if it is not UTF-8."""
    if "%" not in raw:
        return raw
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as exc:
        raise BadRequest("Expected a path of percent-encoded UTF-8.") from exc


def refuse_dot_segments(path: str) -> None:
    """Raise `BadRequest` for a `.` or `..` segment, also one that shows when the path is decoded again."""
    for _ in range(DEEPEST):
        if DOT_SEGMENT.search(path):
            raise BadRequest("Expected a path without . and .. segments.")
        if not ESCAPE.search(path):
            return
        path = unquote_to_bytes(path).decode("latin-1")
    raise BadRequest("Expected a path that is percent-encoded once.")


def encode(path: str) -> str:
    """Return the one percent-encoded form of a canonical path, which is what services are sent."""
    return quote(path, safe=LITERAL)
