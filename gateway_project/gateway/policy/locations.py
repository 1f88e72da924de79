"""`Location` and `Content-Location` of a service's answer, as the client can follow them.

A service names its own address and its own paths. The client knows the gateway's.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from .headers import Headers
from .rejections import UpstreamRedirects
from .routes import RouteTable, other_slash

NAMES: Final = frozenset({"location", "content-location"})
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# What a browser takes for the beginning of another host (WHATWG URL, section 4.4).
ELSEWHERE = re.compile(r"/[/\\]")


def are_in(headers: Iterable[tuple[str, str]]) -> bool:
    return any(name.lower() in NAMES for name, _ in headers)


def split(url: str) -> SplitResult | None:
    """Return the parts of the reference, `None` if it is invalid."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def authority(parts: SplitResult) -> str:
    """Return host and port in one form. The scheme counts only for the default port.

    A service behind a gateway that speaks https may say https for its own address too.
    """
    is_default = parts.port in {None, DEFAULT_PORTS.get(parts.scheme)}
    return f"{parts.hostname or ''}{'' if is_default else f':{parts.port}'}"


class PublicURL(NamedTuple):
    """The client's request: scheme, host, and path with query."""

    scheme: str
    host: str
    target: str


class Locations:
    """Replaces the services' addresses by the public ones."""

    def __init__(self, table: RouteTable) -> None:
        self.table = table
        urls = {name: [urlsplit(url) for url in service.url] for name, service in table.services.items()}
        self.authorities = {name: {authority(url) for url in each} for name, each in urls.items()}
        # The longest first: one may begin with another.
        self.bases = {name: sorted({url.path for url in each}, key=len, reverse=True) for name, each in urls.items()}

    def public(self, headers: Headers, *, service: str, status: int, sent: str, asked: PublicURL) -> Headers:
        """Return the headers, naming public places; `sent` is the path that the service was sent.

        Raises `UpstreamRedirects` for a redirect that would lead the client back here.
        """
        return [
            (name, self.place(value, service, status, sent, asked) if name.lower() in NAMES else value)
            for name, value in headers
        ]

    def place(self, value: str, service: str, status: int, sent: str, asked: PublicURL) -> str:
        """Return the public URL or path of a location; one that is not the service's stays unchanged."""
        parts = split(value)
        own = self.own_path(parts, service, asked.host) if parts else None
        if parts is None or own is None:
            return value
        path = self.table.public_path(self.table.before_rewrite(service, own), asked.target.partition("?")[0])
        target = f"{path}?{parts.query}" if parts.query else path
        if status in REDIRECTS and own == other_slash(sent) and target == asked.target:
            raise UpstreamRedirects(service)
        if ELSEWHERE.match(path) or (not parts.netloc and path == parts.path):
            return value
        origin = f"{asked.scheme}://{asked.host}" if parts.netloc else ""
        return f"{origin}{target}#{parts.fragment}" if parts.fragment else f"{origin}{target}"

    def own_path(self, parts: SplitResult, service: str, host: str) -> str | None:
        """Return the location's path below the service's base path, `None` if it is not the service's."""
        if "@" in parts.netloc or parts.scheme not in {"", *DEFAULT_PORTS}:
            return None
        if parts.netloc:
            public = split(f"{parts.scheme}://{host}")
            own = self.authorities[service] | ({authority(public)} if public else set())
            if authority(parts) not in own:
                return None
        elif parts.scheme or not parts.path.startswith("/"):
            return None
        path = parts.path or "/"
        for base in self.bases[service]:
            if path == base or path.startswith(f"{base}/"):
                return path.removeprefix(base) or "/"
        return None
