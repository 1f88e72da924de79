"""Whether the client is a person's browser that wants a page, or a program (RFC 9110, section 12.5.1).

And which headers of a service's answer go with a page that shows it.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from .headers import Headers

# What a service says of its content (RFC 9110, sections 8, 14.3 and 14.4; RFC 6266; RFC 9530; RFC 9421), which a page
# that shows it is not.
ABOUT_CONTENT: Final = frozenset(
    {
        "accept-ranges", "content-digest", "content-disposition", "content-encoding", "content-language",
        "content-length", "content-location", "content-md5", "content-range", "content-type", "digest", "etag",
        "last-modified", "repr-digest", "signature", "signature-input",
    }
)  # fmt: skip
# What may keep it, and for how long (RFC 9111, section 5; RFC 9213: `CDN-Cache-Control` and others of such names).
ABOUT_STORING: Final = frozenset({"age", "cache-control", "expires", "pragma", "surrogate-control"})
TARGETED: Final = "-cache-control"

QUALITY = re.compile(r"[01](?:\.[0-9]{0,3})?")
# Of the three forms of a media range, the more specific one counts.
PAGE = ("text/html", "text/*", "*/*")
DATA = ("application/json", "application/*", "*/*")
# Java's HttpURLConnection asks for these unless its program says otherwise. A browser that names types of images names
# XHTML too, and a text browser names none.
JAVA = frozenset({"text/html", "image/gif", "image/jpeg"})
XHTML = "application/xhtml+xml"


def quality(ranges: dict[str, float], forms: Iterable[str]) -> float:
    return next((ranges[form] for form in forms if form in ranges), 0.0)


@lru_cache(256)
def prefers_page(accept: str) -> bool:
    """Return whether `Accept` prefers HTML to JSON, and is not a program's default."""
    if "text/" not in accept.lower():
        return False
    ranges: dict[str, float] = {}
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip(" \t") for part in entry.split(";"))
        weights = [value for key, _, value in (each.partition("=") for each in parameters) if key == "q"]
        ranges[name] = float(weights[0]) if weights and QUALITY.fullmatch(weights[0]) else 1.0
    if ranges.keys() >= JAVA and XHTML not in ranges:
        return False
    page, data = quality(ranges, PAGE), quality(ranges, DATA)
    return page > data or (page == data > 0 and named_first(accept.lower()))


def named_first(accept: str) -> bool:
    """Return whether HTML comes before JSON, both wanted equally."""
    page, data = accept.find(PAGE[0]), accept.find(DATA[0])
    return page >= 0 and (data < 0 or page < data)


def is_about_content(name: str) -> bool:
    return name.lower() in ABOUT_CONTENT


def is_about_storing(name: str) -> bool:
    return name.lower() in ABOUT_STORING or name.lower().endswith(TARGETED)


def for_data(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return a browser's headers as a request for the whole JSON that a page shows."""
    dropped = {"accept", "accept-encoding", "if-none-match", "if-modified-since", "range", "if-range"}
    return [*[header for header in headers if header[0].lower() not in dropped], ("Accept", "application/json")]
