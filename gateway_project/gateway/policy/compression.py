"""`compress` of gateway.yaml: which responses are sent in a content coding, and how that changes their headers.

The gateway's coding makes another representation of the same content. So a strong `ETag` becomes weak (RFC 9110,
section 8.8.1), and the service, which knows the strong one only, gets both in the conditions of a request.
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from .codings import preferred
from .headers import Headers, values, varying_by

# Bytes: a smaller body is sent as it is. Its head is as large, and it fits into the same packet.
LEAST: Final = 1024
# Responses without content, with a part of it, and those that tell a cache to go on with what it has.
OTHER_STATUSES: Final = frozenset({204, 205, 206, 304})
NOT_MODIFIED: Final = 304
# Of a response that is encoded already, that is a part, or whose digest or signature is of the content as it is.
PREVENTING: Final = (
    "content-encoding", "content-range", "content-digest", "content-md5", "digest", "repr-digest", "signature",
)  # fmt: skip
# Media types that compress well, beside text: all others may be compressed already.
TYPES: Final = frozenset(
    {
        "application/javascript", "application/json", "application/rtf", "application/sql", "application/toml",
        "application/wasm", "application/x-javascript", "application/x-ndjson", "application/xml", "application/yaml",
        "font/otf", "font/ttf", "image/bmp", "image/vnd.microsoft.icon", "image/x-icon",
    }
)  # fmt: skip
SUFFIXES: Final = ("+json", "+xml", "+yaml")
EVENTS: Final = "text/event-stream"
CONDITIONS: Final = frozenset({"if-match", "if-none-match"})
WEAK_TAG: Final = re.compile(r'W/("[\x21\x23-\x7e\x80-\xff]*")')


class ClientHeaders(Protocol):
    """What of a request the headers of its response depend on."""

    @property
    def page_origin(self) -> str | None: ...
    @property
    def accept_encoding(self) -> str: ...
    @property
    def if_none_match(self) -> str: ...


def is_compressible(status: int, headers: Sequence[tuple[str, str]]) -> bool:
    """Return whether the response is worth a coding, and may have one."""
    if status in OTHER_STATUSES or not is_compressible_type(",".join(values(headers, "content-type"))):
        return False
    if any(name.lower() in PREVENTING for name, _ in headers):
        return False
    directives = ",".join(values(headers, "cache-control")).lower().split(",")
    if "no-transform" in [directive.strip(" \t") for directive in directives]:
        return False
    length = next(iter(values(headers, "content-length")), "")
    return not length.isdigit() or int(length) >= LEAST


def is_compressible_type(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip(" \t").lower()
    return (kind.startswith("text/") and kind != EVENTS) or kind in TYPES or kind.endswith(SUFFIXES)


def applied(headers: Headers, status: int, client: ClientHeaders, *, bodiless: bool) -> tuple[Headers, str | None]:
    """Return the headers of a response, and the coding that its content is to be sent in."""
    if status == NOT_MODIFIED:
        return not_modified(headers, client.if_none_match), None
    if not is_compressible(status, headers):
        return headers, None
    headers = varying_by(headers, "Accept-Encoding")
    coding = None if bodiless else preferred(client.accept_encoding)
    if coding is None:
        return headers, None
    # Parts of the encoded content cannot be requested, as the service has the content as it is.
    kept = [header for header in headers if header[0].lower() not in {"accept-ranges", "content-length"}]
    return [*((name, weakened(name, value)) for name, value in kept), ("content-encoding", coding)], coding


def not_modified(headers: Headers, if_none_match: str) -> Headers:
    """Return the headers of a 304 as the 200 had them, so that the client finds what it has stored."""
    changed = []
    for name, value in headers:
        weak = weakened(name, value)
        changed.append((name, weak if weak in if_none_match else value))
    return varying_by(changed, "Accept-Encoding")


def weakened(name: str, value: str) -> str:
    """Return the value of a header; a strong `ETag` becomes weak."""
    return f"W/{value}" if name.lower() == "etag" and value.startswith('"') else value


def with_strong_tags(headers: Headers) -> Headers:
    """Return a request's headers, in whose conditions each weak tag is there as a strong one too."""
    return [
        (name, ", ".join([value, *strong]))
        if name.lower() in CONDITIONS and (strong := WEAK_TAG.findall(value))
        else (name, value)
        for name, value in headers
    ]
