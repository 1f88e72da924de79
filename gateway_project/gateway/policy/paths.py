"""A request's path in the one form that is forwarded, and what of it routes are matched with.

Whatever two servers could read differently is rejected: the gateway must not decide on one thing and the service serve
another.
"""

import re
from string import ascii_letters, digits
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes

from .rejections import BadRequest

MAX_LENGTH: Final = 8192

# How often a path may turn out to be encoded once more. Three times are never needed; without a bound a path of the
# longest size could take thousands of rounds.
MAX_SEGMENTS: Final = 8

ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
ENCODED_SEPARATOR = re.compile(r"%(?:2[Ff]|5[Cc])")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# A path parameter (`..;x=1`) does not make the segment another for the servers that know them.
DOT_SEGMENT = re.compile(r"(?:^|[/\\])\.\.?(?:;[^/\\]*)?(?=[/\\]|$)")

# A segment that is empty, also for the servers that know path parameters.
EMPTY_SEGMENT = re.compile(r"/[/;]")
# RFC 3986, section 3.3: what those servers leave out where they look for what is meant.
PATH_PARAMETERS = re.compile(r";[^/]*")

# Paths that are what they seem, as nearly all are: no escapes, and no segment that begins with a dot.
PLAIN = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)+/?")

ABSOLUTE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)")

# RFC 3986, section 3.3: what a segment may hold as it is, and the slash between them.
LITERAL: Final = "!$&'()*+,;=:@-._~/"
# RFC 3986, section 6.2.2: an unreserved character means the same with and without its encoding; another may not.
UNRESERVED: Final = frozenset(f"{ascii_letters}{digits}-._~")
ESCAPES: Final = {f"%{byte:02X}": chr(byte) if chr(byte) in UNRESERVED else f"%{byte:02X}" for byte in range(256)}


def parse_target(target: str) -> tuple[str, str | None, str | None]:
    """Return a request target's path, and its scheme and authority if it is in absolute form (RFC 9112, section 3.2.2).

    The target is without a query.
    """
    found = None if target.startswith("/") else ABSOLUTE.match(target)
    return (
        (target[found.end() :] or "/", found["scheme"].lower(), found["authority"]) if found else (target, None, None)
    )


def canonical(raw: str) -> str:
    """Return the one form of a request target's path; raise `BadRequest` if it is ambiguous.

    Of its escapes those of unreserved characters are decoded, the others stay. `raw` holds the bytes as sent, each as
    one character (latin-1), without the query.
    """
    if len(raw) <= MAX_LENGTH and PLAIN.fullmatch(raw):
        return raw
    if not raw.startswith("/"):
        raise BadRequest("The path does not begin with /. Send one that does.")
    if len(raw) > MAX_LENGTH:
        raise BadRequest(f"The path is too long. Send at most {MAX_LENGTH} bytes.")
    if not raw.isascii():
        raise BadRequest("The path has characters outside ASCII. Percent-encode them as UTF-8.")
    if "?" in raw or "#" in raw:
        raise BadRequest("The path contains ? or #. Percent-encode them.")
    if BAD_ESCAPE.search(raw):
        raise BadRequest("The path has a % without two hexadecimal digits. Encode a % as %25.")
    if "\\" in raw or ENCODED_SEPARATOR.search(raw):
        raise BadRequest("The path has a backslash or an encoded slash. Use / only.")
    path = decoded(raw)
    if EMPTY_SEGMENT.search(raw):
        raise BadRequest("The path has an empty segment. Remove it.")
    if CONTROL.search(path):
        raise BadRequest("The path has a control character. Remove it.")
    reject_dot_segments(path)
    return quote(ESCAPE.sub(lambda escape: ESCAPES[escape[0].upper()], raw), safe=LITERAL + "%")


def matched(path: str) -> str:
    """Return what routes are matched with: a canonical path decoded, without its path parameters.

    Services decode paths, and some leave the parameters out: the rule for what they serve is the one that counts.
    """
    if ";" in path:
        path = PATH_PARAMETERS.sub("", path)
    return unquote(path) if "%" in path else path


def decoded(raw: str) -> str:
    """Return the path decoded once; raise `BadRequest` if it is not UTF-8."""
    if "%" not in raw:
        return raw
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as exc:
        raise BadRequest("The path is not UTF-8. Percent-encode it as UTF-8.") from exc


def reject_dot_segments(path: str) -> None:
    """Raise `BadRequest` for a `.` or `..` segment, even one that appears when the path is decoded again."""
    for _ in range(MAX_SEGMENTS):
        if DOT_SEGMENT.search(path):
            raise BadRequest("The path has a . or .. segment. Resolve it before sending.")
        if not ESCAPE.search(path):
            return
        path = unquote_to_bytes(path).decode("latin-1")
    raise BadRequest("The path is percent-encoded several times. Encode it once.")
