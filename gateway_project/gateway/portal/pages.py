"""What every page shows in its header: a context processor of the templates."""

from typing import Any
from urllib.parse import quote

from django.utils.functional import SimpleLazyObject

from gateway.config import Config
from gateway.policy import access, origins
from gateway.policy.access import Identity
from gateway.policy.rejections import RequestRejected

from .context import WebRequest


def header(request: WebRequest) -> dict[str, Any]:
    """Return who is signed in, where a visitor can sign in, and the services' own pages. Read on use."""
    identity: Any = SimpleLazyObject(request.gateway.signed_in)
    return {
        "viewer": SimpleLazyObject(lambda: identity.username if identity else ""),
        "sign_in": SimpleLazyObject(lambda: sign_in_for(request)),
        "is_admin": SimpleLazyObject(lambda: may(("admin",), identity or None)),
        "own_pages": SimpleLazyObject(lambda: own_pages(request.gateway.runtime.config, identity or None)),
    }


def sign_in_for(request: WebRequest) -> str:
    """Return where a visitor signs in and comes back from; empty without a login."""
    if request.gateway.runtime.config.login is None:
        return ""
    return f"/login/?next={quote(origins.own_path(request.gateway.target), safe='/')}"


def own_pages(config: Config, identity: Identity | None) -> list[tuple[str, str]]:
    """Return name and path of the services' own pages that the viewer may open, such as Django's admin."""
    found: dict[str, str] = {}
    for route in config.routes:
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
