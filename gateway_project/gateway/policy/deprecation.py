"""`deprecated` of gateway.yaml, prepared at load: the headers by which clients learn that a route is to go.

`Deprecation` (RFC 9745) has the time since when, as a Structured Field's date; `Sunset` (RFC 8594) the time until when,
as an HTTP date; `Link` what to use instead (RFC 5829, `successor-version`) and a page about it. The parameters of the
request's path are filled into the successor's. A service's own `Deprecation` and `Sunset` are dropped: each may be
there once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from gateway.config import Deprecated, patterns

from .headers import Headers

OWN: Final = frozenset({"deprecation", "sunset"})


class Deprecation:
    """What the responses of one deprecated route have."""

    def __init__(self, since: datetime, rules: Deprecated) -> None:
        self.fixed: Headers = [("deprecation", f"@{since.timestamp():.0f}")]
        if rules.sunset:
            self.fixed.append(("sunset", format_datetime(rules.sunset, usegmt=True)))
        self.links = [f'<{rules.link}>; rel="deprecation"; type="text/html"'] if rules.link else []
        self.path = rules.successor
        segments = patterns.parse(rules.successor).segments if rules.successor else ()
        self.written = [(each.kind == "static", each.text) for each in segments]
        self.has_parameters = any(not is_static for is_static, _ in self.written)
        self.prepared = encoded(self.headers({})) if not self.has_parameters else b""

    @classmethod
    def of(cls, rules: Deprecated) -> "Deprecation | None":
        """Return the headers, `None` for a route that is not deprecated."""
        return cls(rules.since, rules) if rules.since else None

    def successor(self, params: Mapping[str, str]) -> str | None:
        """Return the path that replaces the request's; `params` are encoded as they were sent."""
        if not self.has_parameters:
            return self.path
        return "/" + "/".join(text if is_static else params[text] for is_static, text in self.written)

    def headers(self, params: Mapping[str, str]) -> Headers:
        path = self.successor(params)
        links = [f'<{path}>; rel="successor-version"', *self.links] if path else self.links
        return [*self.fixed, ("link", ", ".join(links))] if links else self.fixed

    def lines(self, params: Mapping[str, str]) -> bytes:
        """Return the headers, encoded, each after a line break."""
        return encoded(self.headers(params)) if self.has_parameters else self.prepared

    @staticmethod
    def without_own(pairs: Sequence[tuple[str, str]]) -> Headers:
        """Return a service's headers without those that the gateway sets."""
        return [header for header in pairs if header[0].lower() not in OWN]


def encoded(pairs: Headers) -> bytes:
    return "".join(f"\r\n{name}: {value}" for name, value in pairs).encode("latin-1")
