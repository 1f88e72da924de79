"""Who sent a WSGI request, and what it said, as values that policy takes."""

from typing import cast
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

from gateway.policy import clients
from gateway.policy.refusals import BadRequest


def headers(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the request's headers."""
    return list(request.headers.items())


def is_trusted(request: HttpRequest) -> bool:
    """Return whether the peer is a proxy of ours."""
    return clients.is_trusted(request.META.get("REMOTE_ADDR", ""), settings.TRUSTED_PROXIES)


def address(request: HttpRequest) -> str:
    """Return the client's address: the peer's, or the one that proxies of ours have forwarded for."""
    forwarded = request.headers.get("X-Forwarded-For")
    return clients.address(
        request.META.get("REMOTE_ADDR", ""), [forwarded] if forwarded else [], settings.TRUSTED_PROXIES
    )


def origin(request: HttpRequest) -> tuple[str, str]:
    """Return scheme and host as the client sees them; raise `BadRequest` for a host that is not ours."""
    scheme, host = clients.origin(
        request.scheme or "http",
        request.headers.get("Host", ""),
        forwarded_proto=request.headers.get("X-Forwarded-Proto", "").split(","),
        forwarded_host=request.headers.get("X-Forwarded-Host", "").split(","),
        trusted=is_trusted(request),
    )
    domain, _ = split_domain_port(host)
    if not (domain and validate_host(domain, settings.ALLOWED_HOSTS)):
        raise BadRequest("Expected a Host that is one of GATEWAY_ALLOWED_HOSTS.")
    return scheme, host


def raw_path(request: HttpRequest) -> str:
    """Return the path as it was sent. Where the server keeps only its own decoding of it, that is what is judged."""
    target = request.META.get("RAW_URI") or request.META.get("REQUEST_URI")
    if target is None:
        return quote(request.META.get("PATH_INFO", "").encode("latin-1"), safe="/!$&'()*+,;=:@~")
    if "://" in target.partition("?")[0]:
        target = "/" + target.partition("://")[2].partition("/")[2]
    return cast("str", target.partition("?")[0])


def target_query(request: HttpRequest) -> str:
    """Return `?` and the query as it was sent, or nothing; raise `BadRequest` for what no query may hold."""
    query = request.META.get("QUERY_STRING", "")
    if not (query.isascii() and query.isprintable() and " " not in query):
        raise BadRequest("Expected a query of printable ASCII characters, others percent-encoded.")
    return f"?{query}" if query else ""
