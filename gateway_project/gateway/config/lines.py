"""In which line of gateway.yaml each policy of a route is declared."""

from collections.abc import Mapping
from pathlib import Path

from .document import DocumentReader, Node
from .loading import load, text_of
from .models import Config


class Lines:
    """The lines of a file without faults; `None` for what it leaves at its default."""

    def __init__(self, root: Node, config: Config) -> None:
        self.root = root
        self.config = config

    def route(self, index: int) -> int:
        """Return where a route begins."""
        return self.route_node(index).mark.line

    def policy(self, index: int, key: str) -> int | None:
        """Return where a key of a route is declared: at the route, its service, or `defaults`."""
        services, defaults = self.root.get("services"), self.root.get("defaults")
        service = services.get(self.config.routes[index].service) if services else None
        for level in (self.route_node(index), service, defaults):
            if level and (node := level.get(key)):
                return (node.key or node.mark).line
        return None

    def limit(self, name: str) -> int | None:
        """Return where a limit is declared."""
        limits = self.root.get("limits")
        node = limits.get(name) if limits else None
        return (node.key or node.mark).line if node else None

    def service(self, name: str) -> int | None:
        services = self.root.get("services")
        node = services.get(name) if services else None
        return (node.key or node.mark).line if node else None

    def service_key(self, name: str, key: str) -> int | None:
        """Return where a key of a service is declared: there, or at `defaults`."""
        services = self.root.get("services")
        for level in (services.get(name) if services else None, self.root.get("defaults")):
            if level and (node := level.get(key)):
                return (node.key or node.mark).line
        return None

    def general(self, key: str) -> int | None:
        """Return where a key of the whole file is."""
        node = self.root.get(key)
        return (node.key or node.mark).line if node else None

    def route_node(self, index: int) -> Node:
        routes = self.root.get("routes")
        return routes.children()[index] if routes else self.root


def lines_of(content: bytes, path: Path, environ: Mapping[str, str], config: Config) -> Lines:
    """Return the lines of the content of a file that was loaded as `config`."""
    reader = DocumentReader(str(path), environ)
    return Lines(reader.read(content.decode("utf-8-sig")), config)


def load_with_lines(path: Path, environ: Mapping[str, str]) -> tuple[Config, Lines]:
    """Return the configuration as `load` does, and its lines; raise `ConfigError`."""
    config = load(path, environ)
    reader = DocumentReader(str(path), environ)
    return config, Lines(reader.read(text_of(path, reader)), config)
