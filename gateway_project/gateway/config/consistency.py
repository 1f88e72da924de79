"""What no single key can tell: references to services, and routes that match the same requests.

Each check works on the nodes, so that it also finds its faults in a file that has others.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from . import contradictions, deprecation, limits, patterns, values
from .document import DocumentReader, Mark, Node, shown
from .patterns import Pattern, Shapes

# The gateway responds here itself: a route that can match one of these would be out of reach, or take it over.
RESERVED: Final = (
    "/",
    "/api/login",
    "/api/token/refresh",
    "/api/logout",
    "/api/sessions",
    "/api/sessions/{rest...}",
    "/api/users/{id}/sessions",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/.well-known/jwks.json",
    "/healthz",
    "/livez",
    "/readyz",
    "/metrics",
    "/login/",
    "/logout/",
    "/sessions/",
    "/gateway/{rest...}",
    "/static/{rest...}",
)
DEFAULT_ROLES: Final = ("admin", "default")
RESERVED_PATTERNS: Final = tuple((path, patterns.parse(path)) for path in RESERVED)


@dataclass(frozen=True, slots=True)
class Claim:
    """The requests that a route matches."""

    path: str
    mark: Mark
    pattern: Pattern
    methods: frozenset[str]


def check(root: Node, reader: DocumentReader) -> None:
    """Note every fault that a single key cannot show."""
    check_services(root, reader)
    check_websockets(root, reader)
    check_rewrites(root, reader)
    contradictions.check(root, reader)
    limits.check(root, reader)
    deprecation.check(root, reader)
    versions = root.get("versions")
    version = versions.get("current") if versions else None
    current = version.value if version and isinstance(version.value, str) else None
    taken = list(claims(root, current))
    check_reserved(taken, reader)
    check_conflicts(taken, reader)


def unknown_roles(root: Node, reader: DocumentReader) -> None:
    """Note each role in `allow` that no user can have. It is a warning: the role opens the route to no user."""
    declared_roles = root.get("roles")
    roles = tuple(contradictions.texts(declared_roles)) or DEFAULT_ROLES
    routes = root.get("routes")
    for route in routes.children() if routes else []:
        allow = route.get("allow")
        for role in allow.children() if allow else []:
            if isinstance(role.value, str) and role.value not in roles:
                near = difflib.get_close_matches(role.value, roles, n=1)
                meant = f"Did you mean {near[0]}? " if near else ""
                declared = f"roles: [{', '.join((*roles, role.value))}]"
                known = f"The roles are {', '.join(roles)}. {meant}If users have this role, write {declared}."
                reader.fault(role.mark, f"unknown role {shown(role.value)}. {known}")


def check_services(root: Node, reader: DocumentReader) -> None:
    services = root.get("services")
    defined = services.value if services and isinstance(services.value, dict) else {}
    routes, login = root.get("routes"), root.get("login")
    for user in [login] if login else [], routes.children() if routes else []:
        for section in user:
            reference = section.get("service")
            if reference and isinstance(reference.value, str) and reference.value not in defined:
                known = f"The services are {', '.join(defined)}." if defined else "Add it under `services`."
                near = difflib.get_close_matches(reference.value, defined, n=1)
                meant = f"Did you mean {near[0]}? " if near else ""
                reader.fault(reference.mark, f"unknown service {shown(reference.value)}. {meant}{known}")


def check_websockets(root: Node, reader: DocumentReader) -> None:
    """Note each WebSocket that no client could open, since its handshake is a GET (RFC 6455, section 4.1)."""
    routes = root.get("routes")
    for route in routes.children() if routes else []:
        websocket, methods = route.get("websocket"), route.get("methods")
        if (
            websocket
            and websocket.value is True
            and methods
            and "GET" not in [each.value for each in methods.children()]
        ):
            reader.fault(methods.mark, "a WebSocket begins with GET, which is not among the methods. Add it.")


def check_rewrites(root: Node, reader: DocumentReader) -> None:
    """Note each rewrite with a parameter that the path does not have."""
    routes = root.get("routes")
    for route in routes.children() if routes else []:
        path, rewrite = route.get("path"), route.get("rewrite")
        if not (path and rewrite and isinstance(path.value, str) and isinstance(rewrite.value, str)):
            continue
        try:
            known = {segment for segment in patterns.parse(path.value).segments if segment.kind != "static"}
            wanted = [segment for segment in patterns.parse(rewrite.value).segments if segment.kind != "static"]
        except ValueError:
            continue  # the path's own fault
        for segment in wanted:
            if segment not in known:
                shown_as = f"{{{segment.text}{'...' if segment.kind == 'rest' else ''}}}"
                reader.fault(
                    rewrite.mark, f"the path {shown(path.value)} has no parameter {shown_as}. Use one of its own."
                )


def claims(root: Node, current: str | None) -> Iterator[Claim]:
    """Yield what each route matches, if its path is valid; other checks report invalid methods."""
    routes = root.get("routes")
    for route in routes.children() if routes else []:
        path, methods = route.get("path"), route.get("methods")
        if path is None or not isinstance(path.value, str):
            continue
        try:
            pattern = patterns.normalised(patterns.parse(path.value), current)
        except ValueError:
            continue
        names = [node.value for node in methods.children()] if methods else list(values.EVERY_METHOD)
        known = {name for name in values.METHODS if name in names}
        yield Claim(path.value, path.mark, pattern, frozenset(known | ({"HEAD"} if "GET" in known else set())))


def check_reserved(taken: list[Claim], reader: DocumentReader) -> None:
    for claim in taken:
        own = [path for path, pattern in RESERVED_PATTERNS if claim.pattern.overlaps(pattern)]
        if own:
            clash = f"{shown(claim.path)} can match the gateway's own {', '.join(own)}"
            reader.fault(claim.mark, f"{clash}. Choose another path.")


def check_conflicts(taken: list[Claim], reader: DocumentReader) -> None:
    """Note each route that can match the same requests as an earlier one, unless one is more specific."""
    shapes = Shapes()
    for index, claim in enumerate(taken):
        rivals = [other for other in shapes.overlapping(claim.pattern.segments) if conflict(claim, taken[other])]
        if rivals:
            first = taken[min(rivals)]
            clash = f"{shown(claim.path)} can match the same requests as {shown(first.path)} in line {first.mark.line}"
            reader.fault(claim.mark, f"{clash}. Change the path or the methods of one.")
        shapes.add(claim.pattern, index)


def conflict(one: Claim, other: Claim) -> bool:
    """Return whether two claims that overlap leave open which of them a request is for.

    Between different shapes the path alone decides, before the method: methods that differ do not help there.
    """
    if one.pattern.shape == other.pattern.shape:
        return bool(one.methods & other.methods)
    return not one.pattern.covers(other.pattern) and not other.pattern.covers(one.pattern)
