"""A WSGI request, taken apart for `gate`."""

from collections.abc import Callable
from contextlib import suppress
from typing import cast
from urllib.parse import quote

from django.http import HttpRequest

from chassis import logs
from gateway import bodies, gate
from gateway.policy.access import Identity
from gateway.policy.paths import parse_target
from gateway.policy.rejections import RequestRejected
from gateway.upstreams import Upload

# Under which name the gateway's own server tells of the client's connection.
CLIENT = "gatehouse.client"


def heard(request: HttpRequest) -> gate.RequestHeaders:
    """Return the request's headers, and what they mean."""
    return gate.RequestHeaders(list(request.headers.items()), peer(request), gate.current())


def peer(request: HttpRequest) -> str:
    """Return the address of whoever sent the request to us."""
    return str(request.META.get("REMOTE_ADDR", ""))


def target(request: HttpRequest) -> tuple[str, str, str]:
    """Return path and query as they were sent, and the host that the request is for."""
    said, query = target_of(request)
    path, _, authority = parse_target(said)
    return path, query, request.headers.get("Host", "") if authority is None else authority


def target_of(request: HttpRequest) -> tuple[str, str]:
    """Return the request target as it was sent, and its query.

    Where the server keeps only its own decoding of the path, that is what is judged.
    """
    said = cast("str | None", request.META.get("RAW_URI") or request.META.get("REQUEST_URI"))
    if said is None:
        # Django has decoded it as UTF-8 already.
        said = quote(request.META.get("PATH_INFO", ""), safe="/!$&'()*+,;=:@~")
        said += f"?{request.META['QUERY_STRING']}" if request.META.get("QUERY_STRING") else ""
    path, _, query = said.partition("?")
    return path, query


def origin(request: HttpRequest) -> tuple[str, str]:
    """Return scheme and host as the client sees them; raise `BadRequest` for a host that is not ours."""
    return gate.current().origin(request.scheme or "http", target(request)[2], heard(request))


def log_service(request: HttpRequest, service: str, address: str | None = None) -> None:
    """Have the access log line say where the request was sent."""
    fields = getattr(request, "log_fields", {})
    fields |= {"service": service, "address": address}


def parse_request(request: HttpRequest) -> gate.Request:
    """Return the request as `gate` takes it."""
    path, query, host = target(request)
    return gate.Request(
        method=request.method or "",
        path=path,
        query=query,
        host=host,
        heard=heard(request),
        scheme=request.scheme or "http",
        request_id=logs.request_id.get(),
        version=str(request.META.get("SERVER_PROTOCOL", "HTTP/1.1")).removeprefix("HTTP/"),
        target_scheme=parse_target(target_of(request)[0])[1],
    )


def body(request: HttpRequest, limit: int) -> Upload | bytes:
    """Read and return the request's body; raise `RequestRejected` if it is too large or cannot be read."""
    length = bodies.check_length(request.META, limit)
    if length == 0:
        return b""
    stream = bodies.Stream(request.META["wsgi.input"], length)
    return Upload(stream.read, length, limit, to_its_end=CLIENT not in request.META)


def on_disconnect(request: HttpRequest) -> Callable[[Callable[[], None]], None] | None:
    """Return what takes a call to make when the client leaves; only the gateway's own server can tell."""
    client = request.META.get(CLIENT)
    return cast("Callable[[Callable[[], None]], None]", client.on_disconnect) if client else None


def signed_in(request: HttpRequest) -> Identity | None:
    """Return whom the client is signed in as, whatever it asks for: this is what a page shows."""
    with suppress(RequestRejected):
        scheme, _ = origin(request)
        return gate.current().identify("GET", heard(request), scheme, "")
    return None
