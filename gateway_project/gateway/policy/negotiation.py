"""Whether the client is a person's browser that wants a page, or a program (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Iterable
from functools import lru_cache

QUALITY = re.compile(r"[01](?:\.[0-9]{0,3})?")
# Of the three forms of a media range, the more specific one counts.
PAGE = ("text/html", "text/*", "*/*")
DATA = ("application/json", "application/*", "*/*")
# Java's HttpURLConnection asks for these unless its program says otherwise. A browser that names types of images names
# XHTML too, and a text browser names none.
JAVA = frozenset({"text/html", "image/gif", "image/jpeg"})
XHTML = "application/xhtml+xml"


def quality(ranges: dict[str, float], forms: Iterable[str]) -> float:
    """Return how much a media type is wanted, 0 where it is not."""
    return next((ranges[form] for form in forms if form in ranges), 0.0)


@lru_cache(256)
def prefers_page(accept: str) -> bool:
    """Return whether the value of `Accept` prefers HTML to JSON, and is not what a program sends by default."""
    if "text/" not in accept.lower():
        return False
    ranges: dict[str, float] = {}
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip(" \t") for part in entry.split(";"))
        said = [value for key, _, value in (each.partition("=") for each in parameters) if key == "q"]
        ranges[name] = float(said[0]) if said and QUALITY.fullmatch(said[0]) else 1.0
    if ranges.keys() >= JAVA and XHTML not in ranges:
        return False
    page, data = quality(ranges, PAGE), quality(ranges, DATA)
    return page > data or (page == data > 0 and named_first(accept.lower()))


def named_first(accept: str) -> bool:
    """Return whether, both wanted as much, HTML is named and stands before JSON."""
    page, data = accept.find(PAGE[0]), accept.find(DATA[0])
    return page >= 0 and (data < 0 or page < data)
