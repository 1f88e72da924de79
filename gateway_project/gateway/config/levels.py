"""Where policies are declared: the three levels as nodes of the file, the nearest first."""

from typing import NamedTuple

from .document import Node
from .models import Config, Route


class Declared(NamedTuple):
    """A route, and the nodes that its policies are taken from: its own, its service's, and that of `defaults`."""

    route: Route
    levels: list[Node]

    def find(self, *path: str) -> Node | None:
        """Return the value of a policy, or of a key of one, that is in force."""
        return next((node for level in self.levels if (node := level.find(*path))), None)


def declared_routes(config: Config, root: Node) -> list[Declared]:
    """Return the routes of a configuration whose services are all defined."""
    found, defaults, routes = [], root.find("defaults"), root.find("routes")
    for route, node in zip(config.routes, routes.children() if routes else [], strict=True):
        levels = [node, root.find("services", route.service), defaults]
        found.append(Declared(route, [level for level in levels if level]))
    return found
