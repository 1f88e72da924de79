"""Which headers go on: from the client to the service, and back.

A header list is a list of pairs, name and value (latin-1), in the order they came, repeated ones as often as they came.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from .refusals import BadRequest, BadUpstream

Headers = list[tuple[str, str]]

# RFC 9110, sections 5.6.2 and 5.5: a tab is the only control character that a value may hold.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")

# RFC 9110, section 7.6.1: these are between two neighbours, not between the client and the service.
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# What the gateway says itself, or what frames the message: the client's word for it does not count.
OWN: Final = frozenset(
    {
        "authorization",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "request-user-id",
        "x-forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
    }
)
FORWARDED: Final = "x-forwarded-"


def malformed(headers: Iterable[tuple[str, str]]) -> str | None:
    """Return what was expected where a name or a value is malformed."""
    for name, value in headers:
        if not TOKEN.fullmatch(name):
            return "Expected header names of letters, digits and !#$%&'*+.^_`|~-."
        if FORBIDDEN_IN_VALUE.search(value):
            return f"Expected no control characters in the header {name}."
    return None


def connection_options(headers: Iterable[tuple[str, str]]) -> set[str]:
    """Return the names that `Connection` says are between two neighbours, in lower case."""
    values = (value for name, value in headers if name.lower() == "connection")
    return {option.strip(" \t").lower() for value in values for option in value.split(",")}


def end_to_end(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers that are not between two neighbours only."""
    dropped = HOP_BY_HOP | connection_options(headers)
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def from_client(headers: Sequence[tuple[str, str]], *, trusted: bool) -> Headers:
    """Return what the client may say to a service; raise `BadRequest` for a malformed name or value.

    A name with an underscore goes too, whatever it is: in WSGI `Request_User_Id` and `request-user-id` are one name.
    With `trusted`, the peer being a proxy of ours, `X-Forwarded-*` stay, but for those that `to_upstream` says.
    """
    if problem := malformed(headers):
        raise BadRequest(problem)
    return [(name, value) for name, value in end_to_end(headers) if may_say(name.lower(), trusted=trusted)]


def may_say(name: str, *, trusted: bool) -> bool:
    """Return whether a client may say the header, its name in lower case."""
    if "_" in name or name in OWN:
        return False
    return trusted or not name.startswith(FORWARDED)


def to_upstream(
    headers: Sequence[tuple[str, str]],
    *,
    request_id: str,
    address: str,
    scheme: str,
    host: str,
    user_id: str | None = None,
    passport: str | None = None,
    length: int | None = None,
) -> Headers:
    """Return what the service is sent: what `from_client` has left, and the gateway's own.

    `Host` is the sender's to say, and so is `Content-Length` unless `length` is given.
    """
    own = {
        "Content-Length": None if length is None else str(length),
        "X-Request-ID": request_id,
        "X-Forwarded-For": address,
        "X-Forwarded-Proto": scheme,
        "X-Forwarded-Host": host,
        "request-user-id": user_id,
        "Authorization": None if passport is None else f"Bearer {passport}",
    }
    return [*headers, *((name, value) for name, value in own.items() if value is not None)]


def from_upstream(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return what the client is answered with; raise `BadUpstream` for a malformed name or value."""
    if malformed(headers):
        raise BadUpstream("The service answered with a malformed header.")
    return end_to_end(headers)
