"""A WSGI request, taken apart for `gate`."""

from typing import cast
from urllib.parse import quote

from django.http import HttpRequest

from gateway import gate, logs
from gateway.policy.paths import origin_form


def headers(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the request's headers."""
    return list(request.headers.items())


def peer(request: HttpRequest) -> str:
    """Return the address of whoever sent the request to us."""
    return str(request.META.get("REMOTE_ADDR", ""))


def address(request: HttpRequest) -> str:
    """Return the client's address: the peer's, or the one that proxies of ours have forwarded for."""
    return gate.current().client_address(peer(request), headers(request))


def origin(request: HttpRequest) -> tuple[str, str]:
    """Return scheme and host as the client sees them; raise `BadRequest` for a host that is not ours."""
    return gate.current().origin(
        request.scheme or "http", headers(request), trusted=gate.current().is_trusted(peer(request))
    )


def raw_path(request: HttpRequest) -> str:
    """Return the path as it was sent. Where the server keeps only its own decoding of it, that is what is judged."""
    target = request.META.get("RAW_URI") or request.META.get("REQUEST_URI")
    if target is None:
        return quote(request.META.get("PATH_INFO", "").encode("latin-1"), safe="/!$&'()*+,;=:@~")
    return origin_form(cast("str", target).partition("?")[0])


def taken_apart(request: HttpRequest) -> gate.Request:
    """Return the request as `gate` takes it."""
    return gate.Request(
        method=request.method or "",
        path=raw_path(request),
        query=request.META.get("QUERY_STRING", ""),
        headers=headers(request),
        peer=peer(request),
        scheme=request.scheme or "http",
        request_id=logs.request_id.get(),
    )
