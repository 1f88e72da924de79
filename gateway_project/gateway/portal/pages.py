"""What every page shows in its header: a context processor of the templates."""

from typing import Any
from urllib.parse import quote

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from gateway import configuration
from gateway.policy import access, origins
from gateway.policy.access import Identity
from gateway.policy.rejections import RequestRejected

from . import clients


def header(request: HttpRequest) -> dict[str, Any]:
    """Return who is signed in, where a visitor can sign in, and the services' own pages. Read on use."""
    identity: Any = SimpleLazyObject(lambda: clients.signed_in(request))
    return {
        "viewer": SimpleLazyObject(lambda: identity.username if identity else ""),
        "sign_in": SimpleLazyObject(lambda: sign_in_for(request)),
        "own_pages": SimpleLazyObject(lambda: own_pages(identity or None)),
    }


def sign_in_for(request: HttpRequest) -> str:
    """Return where a visitor signs in and comes back from; empty without a login."""
    if configuration.current().login is None:
        return ""
    path, query = clients.target_of(request)
    return f"/login/?next={quote(origins.own_path(f'{path}?{query}' if query else path), safe='/')}"


def own_pages(identity: Identity | None) -> list[tuple[str, str]]:
    """Return name and path of the services' own pages that the viewer may open, such as Django's admin."""
    found: dict[str, str] = {}
    for route in configuration.current().routes:
        start = route.path.partition("{")[0]
        if route.browser == "passthrough" and "GET" in route.methods and may(route.allow, identity):
            found.setdefault(start.strip("/").split("/")[0].replace("-", " ").capitalize() or "Pages", start)
    return list(found.items())


def may(allow: Any, identity: Identity | None) -> bool:  # noqa: ANN401  # a route's
    """Return whether a route's `allow` lets the viewer in."""
    try:
        access.check(allow, identity)
    except RequestRejected:
        return False
    return True
