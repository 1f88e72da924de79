"""Policies that contradict each other once the three levels are merged: faults, and warnings of `check`.

Each check works on the nodes, so that it also finds its faults in a file that has others.
"""

from collections.abc import Iterator

from .document import DocumentReader, Mark, Node, shown


def check(root: Node, reader: DocumentReader) -> None:
    """Note every contradiction that cannot be meant."""
    found: dict[Mark, str] = {}
    for levels in all_levels(root):
        credentials = nearest(levels, "cors", "credentials")
        origins = nearest(levels, "cors", "origins")
        if credentials and origins and credentials.value is True and origins.plain() in ("*", ["*"]):
            place = max(credentials, origins, key=lambda node: node.mark.line)
            found[place.mark] = (
                "`credentials: true` with every origin: any page could use a user's cookies. "
                "List the origins, or remove `credentials`."
            )
    for _, name, policy, defaults in unchecked(root):
        if policy is not defaults:
            found[policy.mark] = (
                "`validate` needs the service's document. "
                f"Give service {shown(name)} an `openapi` path, or remove `validate`."
            )
    for mark, message in found.items():
        reader.fault(mark, message)


def warn(root: Node, reader: DocumentReader) -> None:
    """Note each service without a document whose requests `defaults` would have checked."""
    found = {
        service.key or service.mark: name for service, name, policy, defaults in unchecked(root) if policy is defaults
    }
    for mark, name in found.items():
        message = f"requests to service {shown(name)} are not validated: it has no document"
        reader.fault(mark, f"{message}. Give it an `openapi` path, or write `validate: skip` here.")


def unchecked(root: Node) -> Iterator[tuple[Node, str, Node, Node | None]]:
    """Yield the service of each route that validates without a document, its name, and `validate`: the one in force,
    and that of `defaults`.
    """
    defaults, services, routes = root.get("defaults"), root.get("services"), root.get("routes")
    general = defaults.get("validate") if defaults else None
    for route in routes.children() if routes else []:
        reference = route.get("service")
        name = reference.value if reference and isinstance(reference.value, str) else ""
        service = services.get(name) if services else None
        if service is None or not isinstance(service.value, dict) or service.get("openapi"):
            continue
        policy = route.get("validate") or service.get("validate") or general
        if policy and policy.value in {"report", "enforce"}:
            yield service, name, policy, general


def all_levels(root: Node) -> Iterator[list[Node]]:
    """Yield the nodes that a route's policies are taken from, the nearest first; and so for services and `defaults`."""
    defaults = root.get("defaults")
    yield [defaults] if defaults else []
    yield from service_levels(root)
    yield from route_levels(root)


def service_levels(root: Node) -> Iterator[list[Node]]:
    """Yield the nodes that a service's policies are taken from, the nearest first."""
    defaults, services = root.get("defaults"), root.get("services")
    for service in services.children() if services else []:
        yield [service, *([defaults] if defaults else [])]


def route_levels(root: Node) -> Iterator[list[Node]]:
    """Yield the nodes that a route's policies are taken from, the nearest first."""
    defaults, services, routes = root.get("defaults"), root.get("services"), root.get("routes")
    for route in routes.children() if routes else []:
        reference = route.get("service")
        name = reference.value if reference and isinstance(reference.value, str) else ""
        used = services.get(name) if services else None
        yield [route, *([used] if used else []), *([defaults] if defaults else [])]


def nearest(levels: list[Node], section: str, key: str) -> Node | None:
    """Return the value of a section's key that is in force."""
    sections = (level.get(section) for level in levels)
    return next((node for each in sections if each and (node := each.get(key))), None)
