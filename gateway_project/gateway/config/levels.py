"""The three levels that policies are declared at, as nodes of the file, the nearest first."""

from collections.abc import Iterator

from .document import Node

Levels = list[Node]


def all_levels(root: Node) -> Iterator[Levels]:
    """Yield those that hold for `defaults`, for each service and for each route."""
    defaults = root.get("defaults")
    yield [defaults] if defaults else []
    yield from service_levels(root)
    yield from route_levels(root)


def service_levels(root: Node) -> Iterator[Levels]:
    """Yield the nodes that a service's policies are taken from."""
    defaults, services = root.get("defaults"), root.get("services")
    for service in services.children() if services else []:
        yield [service, *([defaults] if defaults else [])]


def route_levels(root: Node) -> Iterator[Levels]:
    """Yield the nodes that a route's policies are taken from."""
    defaults, routes = root.get("defaults"), root.get("routes")
    for route in routes.children() if routes else []:
        service = service_of(root, route)
        yield [route, *([service] if service else []), *([defaults] if defaults else [])]


def service_of(root: Node, route: Node) -> Node | None:
    """Return the service of a route, `None` if there is no such service."""
    services, reference = root.get("services"), route.get("service")
    name = reference.value if reference and isinstance(reference.value, str) else ""
    return services.get(name) if services else None


def nearest(levels: Levels, *path: str) -> Node | None:
    """Return the value of a policy, or of a key of one, that is in force."""
    for level in levels:
        node: Node | None = level
        for key in path:
            node = node.get(key) if node else None
        if node:
            return node
    return None
