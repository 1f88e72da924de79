"""What no single key can tell: references to services, and routes that match the same requests.

Each check works on the nodes, so that it also finds its faults in a file that has others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from . import patterns, values
from .document import DocumentReader, Mark, Node, meant, shown
from .patterns import Pattern, Shapes

# The gateway responds here itself: a route that can match one of these would be out of reach, or take it over.
RESERVED: Final = (
    "/", "/api/login", "/api/token/refresh", "/api/logout", "/api/sessions", "/api/sessions/{rest...}",
    "/api/users/{id}/sessions", "/docs", "/redoc", "/openapi.json", "/.well-known/jwks.json", "/healthz", "/livez",
    "/readyz", "/metrics", "/login/", "/logout/", "/sessions/", "/gateway/{rest...}", "/static/{rest...}",
)  # fmt: skip
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
    routes = root.find("routes")
    nodes = routes.children() if routes else []
    check_services(root, nodes, reader)
    for route in nodes:
        check_websocket(route, reader)
        check_rewrite(route, reader)
    version = root.find("versions", "current")
    current = version.value if version and isinstance(version.value, str) else None
    taken = list(claims(nodes, current))
    check_reserved(taken, reader)
    check_conflicts(taken, reader)


def check_services(root: Node, routes: list[Node], reader: DocumentReader) -> None:
    services, login = root.find("services"), root.find("login")
    defined = services.value if services and isinstance(services.value, dict) else {}
    for section in [*([login] if login else []), *routes]:
        reference = section.find("service")
        if reference and isinstance(reference.value, str) and reference.value not in defined:
            known = f"The services are {', '.join(defined)}." if defined else "Add it under `services`."
            message = f"unknown service {shown(reference.value)}. {meant(reference.value, defined)}{known}"
            reader.fault(reference.mark, message)


def check_websocket(route: Node, reader: DocumentReader) -> None:
    """Note a WebSocket that no client could open, since its handshake is a GET (RFC 6455, section 4.1)."""
    websocket, methods = route.find("websocket"), route.find("methods")
    if websocket and websocket.value is True and methods and "GET" not in [each.value for each in methods.children()]:
        reader.fault(methods.mark, "a WebSocket begins with GET, which is not among the methods. Add it.")


def check_rewrite(route: Node, reader: DocumentReader) -> None:
    """Note parameters of a rewrite that the path does not have."""
    path, rewrite = route.find("path"), route.find("rewrite")
    old, new = parsed(path), parsed(rewrite)
    if path and rewrite and old and new:
        for segment in new.segments:
            if segment.kind != "static" and segment not in old.segments:
                parameter = f"{{{segment.text}{'...' if segment.kind == 'rest' else ''}}}"
                message = f"the path {shown(path.value)} has no parameter {parameter}. Use one of its own."
                reader.fault(rewrite.mark, message)


def parsed(path: Node | None) -> Pattern | None:
    """Return the pattern of a path; `None` if it has a fault of its own."""
    try:
        return patterns.parse(path.value) if path and isinstance(path.value, str) else None
    except ValueError:
        return None


def claims(routes: list[Node], current: str | None) -> Iterator[Claim]:
    """Yield what each route matches, if its path is valid; other checks report invalid methods."""
    for route in routes:
        path, methods = route.find("path"), route.find("methods")
        if path and (pattern := parsed(path)):
            names = [node.value for node in methods.children()] if methods else list(values.EVERY_METHOD)
            known = {name for name in values.METHODS if name in names}
            with_head = frozenset(known | ({"HEAD"} if "GET" in known else set()))
            yield Claim(str(path.value), path.mark, patterns.normalised(pattern, current), with_head)


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
            clash = f"{shown(claim.path)} can match the same requests as {shown(first.path)} on line {first.mark.line}"
            reader.fault(claim.mark, f"{clash}. Change the path or the methods of one.")
        shapes.add(claim.pattern, index)


def conflict(one: Claim, other: Claim) -> bool:
    """Return whether two claims that overlap leave open which of them a request is for.

    Between different shapes the path alone decides, before the method: methods that differ do not help there.
    """
    if one.pattern.shape == other.pattern.shape:
        return bool(one.methods & other.methods)
    return not one.pattern.covers(other.pattern) and not other.pattern.covers(one.pattern)
