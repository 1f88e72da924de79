"""In which line of gateway.yaml each policy of a route is declared."""

from .document import Node
from .levels import declared_routes
from .models import Config


class Lines:
    """The lines of a file without faults; `None` for what it leaves at its default."""

    def __init__(self, root: Node, config: Config) -> None:
        self.root = root
        self.routes = declared_routes(config, root)

    def route(self, index: int) -> int:
        """Return where a route begins."""
        return self.routes[index].levels[0].mark.line

    def policy(self, index: int, key: str) -> int | None:
        """Return where a key of a route is declared: at the route, its service, or `defaults`."""
        return line_of(self.routes[index].find(key))

    def entry(self, section: str, name: str) -> int | None:
        """Return where a service or a limit is declared."""
        return line_of(self.root.find(section, name))

    def key_of_entry(self, section: str, name: str, key: str) -> int | None:
        """Return where a key of it is declared: there, or at `defaults`."""
        node = self.root.find(section, name, key) or self.root.find("defaults", key)
        return line_of(node) or self.entry(section, name)

    def general(self, key: str) -> int | None:
        """Return where a key of the whole file is."""
        return line_of(self.root.find(key))


def line_of(node: Node | None) -> int | None:
    return node.place.line if node else None
