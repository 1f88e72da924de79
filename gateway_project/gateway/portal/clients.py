"""A WSGI request, taken apart for `gate`."""

from typing import cast
from urllib.parse import quote

from django.http import HttpRequest

from gateway import gate, logs
from gateway.policy.paths import origin_form


def heard(request: HttpRequest) -> gate.Heard:
    """Return the request's headers, and what they mean."""
    return gate.Heard(list(request.headers.items()), peer(request), gate.current())


def peer(request: HttpRequest) -> str:
    """Return the address of whoever sent the request to us."""
    return str(request.META.get("REMOTE_ADDR", ""))


def target(request: HttpRequest) -> tuple[str, str, str]:
    """Return path and query as they were sent, and the host that the request is for.

    Where the server keeps only its own decoding of the path, that is what is judged.
    """
    said = cast("str | None", request.META.get("RAW_URI") or request.META.get("REQUEST_URI"))
    if said is None:
        # Django has decoded it as UTF-8 already.
        said = quote(request.META.get("PATH_INFO", ""), safe="/!$&'()*+,;=:@~")
        said += f"?{request.META['QUERY_STRING']}" if request.META.get("QUERY_STRING") else ""
    path, _, query = said.partition("?")
    path, authority = origin_form(path)
    return path, query, request.headers.get("Host", "") if authority is None else authority


def origin(request: HttpRequest) -> tuple[str, str]:
    """Return scheme and host as the client sees them; raise `BadRequest` for a host that is not ours."""
    return gate.current().origin(request.scheme or "http", target(request)[2], heard(request))


def taken_apart(request: HttpRequest) -> gate.Request:
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
    )
