"""Which headers go on: from the client to the service, and back.

A header list is a list of pairs, name and value (latin-1), in the order they came, repeated ones as often as they came.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from . import cookies
from .rejections import BadRequest, InvalidUpstreamResponse

Headers = list[tuple[str, str]]

# RFC 9110, sections 5.6.2 and 5.5: a tab is the only control character that a value may hold.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")

# RFC 9110, section 7.6.1: these are between two neighbours, not between the client and the service.
HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip

# The milliseconds in which a service must respond: Envoy's name, which sidecars and services read already.
TIME_LEFT: Final = "x-envoy-expected-rq-timeout-ms"

# In it a service names what it has changed, for the audit trail. No client gets it.
AUDIT_DETAIL: Final = "audit-detail"

# Where the passport is if the client's `Authorization` is passed on.
PASSPORT: Final = "x-gatehouse-passport"

# What the gateway sets itself, or what frames the message: the client's value does not count.
OWN: Final = frozenset(
    {
        "authorization", "content-length", "expect", "forwarded", "host", "request-user-id", "via", TIME_LEFT,
        "traceparent", "tracestate", "x-forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-path",
        "x-forwarded-proto", PASSPORT, "x-real-ip", "x-request-id",
    }
)  # fmt: skip
FORWARDED: Final = "x-forwarded-"
BAGGAGE: Final = "baggage"
# Which may stand once (RFC 9110, section 5.3): of two, each reader may take another one.
ONCE: Final = ("host", "content-type")
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')

# What the gateway adds to `Via` (RFC 9110, section 7.6.3), by the version of HTTP that a message came in.
VIA: Final = {version: ("via", f"{version} gatehouse") for version in ("1.0", "1.1")}

# How many names' verdicts are remembered: all that are in use, and a bound on what a client can make up.
MAX_CACHED: Final = 1024


@lru_cache(MAX_CACHED)
def is_token(name: str) -> bool:
    return TOKEN.fullmatch(name) is not None


def malformed(headers: Sequence[tuple[str, str]]) -> str | None:
    """Return the fault of a malformed name or value, if there is one."""
    for name, _ in headers:
        if not is_token(name):
            return "A header name is malformed. Use letters, digits and !#$%&'*+.^_`|~-."
    # All values at once: nearly always that is all there is to look at.
    values = "".join([value for _, value in headers])
    if not (values.isascii() and values.isprintable()):
        for name, value in headers:
            if FORBIDDEN_IN_VALUE.search(value):
                return f"The header {name} has a control character. Remove it."
    return None


def values(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Return all values of the header; the name is in lower case."""
    return [value for key, value in headers if key.lower() == name]


def repeated(headers: Sequence[tuple[str, str]]) -> str | None:
    """Return the name of a header that must not be repeated and is; a WSGI server may have joined the values."""
    for name in ONCE:
        found = values(headers, name)
        if len(found) > 1 or (found and "," in QUOTED.sub("", found[0])):
            return name
    return None


@lru_cache(MAX_CACHED)
def is_end_to_end(name: str) -> bool:
    """Return whether the header is not hop-by-hop by its name."""
    return name.lower() not in HOP_BY_HOP


def end_to_end(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers that are not hop-by-hop, by name or by `Connection`."""
    kept = [header for header in headers if is_end_to_end(header[0])]
    if len(kept) == len(headers):
        return kept
    options = {option.strip(" \t").lower() for value in values(headers, "connection") for option in value.split(",")}
    return [header for header in kept if header[0].lower() not in options]


def from_client(headers: Sequence[tuple[str, str]], *, trusted: bool, accepts_baggage: bool = False) -> Headers:
    """Return what the client may say to a service; raise `BadRequest` for a malformed name or value.

    A name with an underscore goes too, whatever it is: in WSGI `Request_User_Id` and `request-user-id` are one name.
    With `trusted`, the peer being a proxy of ours, `X-Forwarded-*` stay, except for those that `to_upstream` sets.
    `baggage` stays with `trusted` or `accepts_baggage`: services may act on what it contains. Of the cookies the
    gateway's own are not the service's to know.
    """
    if problem := malformed(headers):
        raise BadRequest(problem)
    return cookies.without_own(
        [header for header in end_to_end(headers) if may_say(header[0], trusted, accepts_baggage)]
    )


@lru_cache(MAX_CACHED)
def may_say(name: str, trusted: bool, accepts_baggage: bool) -> bool:
    """Return whether a client may send the header to a service."""
    name = name.lower()
    if "_" in name or name in OWN:
        return False
    if name == BAGGAGE:
        return trusted or accepts_baggage
    return trusted or not name.startswith(FORWARDED)


def to_upstream(
    headers: Sequence[tuple[str, str]],
    *,
    address: str,
    scheme: str,
    host: str,
    version: str = "1.1",
    via: str = "",
    user_id: str | None = None,
    passport: str | None = None,
    passes_authorization: bool = False,
    authorization: str | None = None,
) -> Headers:
    """Return what the service is sent: what `from_client` has left, and the gateway's own.

    If the service gets the client's `authorization`, the passport has another header. Scheme and host are as the client
    asked for them, `via` is the value of its `Via`. The sender sets `Host`, what frames the body, and what differs in
    each request.
    """
    through = VIA.get(version, VIA["1.1"])
    own = [
        through if not via else ("via", f"{via}, {through[1]}"),
        ("x-forwarded-for", address),
        ("x-forwarded-proto", scheme),
        ("x-forwarded-host", host),
    ]
    if user_id is not None:
        own.append(("request-user-id", user_id))
    if passes_authorization and authorization is not None:
        own.append(("authorization", authorization))
    if passport is not None:
        own.append((PASSPORT, passport) if passes_authorization else ("authorization", f"Bearer {passport}"))
    return [*headers, *own]


def encode(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the headers as they are sent, each with its line break."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")


def from_upstream(headers: Sequence[tuple[str, str]], version: str = "1.1") -> Headers:
    """Return what the client is answered with; raise `InvalidUpstreamResponse` for a malformed name or value.

    The gateway's cookies are not a service's to set.
    """
    if malformed(headers):
        raise InvalidUpstreamResponse("The service sent a malformed header.")
    kept = [
        (name, value)
        for name, value in end_to_end(headers)
        if name.lower() != "set-cookie" or not cookies.sets_own(value)
    ]
    return [*kept, VIA[version]]


def for_client(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers without the one that a service sends to the gateway alone."""
    return [header for header in headers if header[0].lower() != AUDIT_DETAIL]


def varying_by_accept(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers with `Accept` in `Vary`: a browser would get a page."""
    return varying_by(headers, "Accept")


def varying_by(headers: Sequence[tuple[str, str]], name: str) -> Headers:
    """Return the headers with a name in `Vary` (RFC 9110, section 12.5.5)."""
    vary = values(headers, "vary")
    if not vary:
        return [*headers, ("vary", name)]
    fields = [field for value in vary if (field := value.strip(" \t"))]
    known = {field.strip(" \t").lower() for value in fields for field in value.split(",")}
    if known & {name.lower(), "*"}:
        return list(headers)
    others = [header for header in headers if header[0].lower() != "vary"]
    return [*others, ("vary", ", ".join([*fields, name]))]
