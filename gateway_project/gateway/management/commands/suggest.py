"""`manage.py suggest URL`: entries for gateway.yaml from a service's OpenAPI document, ready to paste."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import yaml
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway.config import METHODS, RESERVED, Config, ConfigError, load, patterns

TIMEOUT = 10
MAX_SIZE = 8 * 1024 * 1024
HEALTH = "/healthz"
# The service is a neighbour: never ask it through the proxy that the environment names for the internet.
opener = build_opener(ProxyHandler({}))


class Command(BaseCommand):
    help = "Print the services and routes entries of gateway.yaml for a service, from its OpenAPI document."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", help="where the document is, such as http://127.0.0.1:9000/openapi.json")
        parser.add_argument("--name", help="the service's name in gateway.yaml; by default from the document's title")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        url = options["url"]
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise CommandError(f"{url} is not an http:// or https:// URL. Name the service's OpenAPI document.")
        document = read_document(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        config = self.current_config()
        name = options["name"] or name_at(origin, config) or slug(document.get("info", {}).get("title")) or "service"
        known = config.services.get(name) if config else None
        if known and origin not in known.url:
            raise CommandError(
                f"gateway.yaml has a service {name} at {known.url[0]}. Choose another name: --name NAME."
            )
        if known:
            self.stdout.write(f"# gateway.yaml has the service {name} already, at this URL.")
        else:
            self.stdout.write(f"services:\n  {name}:\n    url: {origin}\n    openapi: {parts.path or '/'}")
            if is_up(origin + HEALTH):
                self.stdout.write(f"    health: {HEALTH}")
        present = Present(config, name)
        entries = [entry(name, path, methods, present) for path, methods in sorted(operations(document))]
        lines = [line for each in entries for line in each]
        if all(line.lstrip().startswith("#") for line in lines):
            self.stdout.write("\n".join([*lines, "# There is no route to add."]))
            return
        self.stdout.write("\n".join(["routes:", *lines]))
        self.stderr.write(
            "Set each `allow:` to who may use the route: public, authenticated, or roles such as [admin]."
        )

    def current_config(self) -> Config | None:
        """Return gateway.yaml, or `None` with a message if it has faults."""
        try:
            return load(settings.GATEWAY_CONFIG, os.environ)
        except ConfigError as exc:
            self.stderr.write(f"gateway.yaml has faults, so entries that it has already are not left out:\n{exc}")
            return None


@dataclass(frozen=True)
class Present:
    """The routes that gateway.yaml has already for one service."""

    config: Config | None
    service: str

    def methods(self, pattern: patterns.Pattern) -> set[str]:
        """Return the methods that are routed at this path, or below a route of the service for a whole tree."""
        if self.config is None:
            return set()
        current = self.config.current_version
        wanted = patterns.normalised(pattern, current)
        found: set[str] = set()
        for route in self.config.routes:
            for path in {route.path, self.config.upstream_path(route)}:
                routed = patterns.normalised(patterns.parse(path), current)
                if routed.shape == wanted.shape or (route.service == self.service and routed.covers(wanted)):
                    found.update(route.methods)
        return found | ({"HEAD"} if "GET" in found else set())


def read_document(url: str) -> dict[str, Any]:
    """Return the OpenAPI document, which may be JSON or YAML; raise `CommandError`."""
    try:
        request = Request(url, headers={"Accept": "application/json, application/yaml;q=0.9, */*;q=0.1"})  # noqa: S310  # checked
        with opener.open(request, timeout=TIMEOUT) as response:
            document = yaml.safe_load(response.read(MAX_SIZE))
    except HTTPError as exc:
        raise CommandError(f"{url} responds with {exc.code}. Name the path of the service's OpenAPI document.") from exc
    except OSError as exc:
        raise CommandError(f"{url} cannot be reached: {exc}. Start the service first.") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise CommandError(f"{url} is neither JSON nor YAML. Name the service's OpenAPI document.") from exc
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise CommandError(f"{url} is not an OpenAPI document: it has no paths.")
    return document


def slug(title: object) -> str:
    """Return the title as a service's name: `The library` is `the-library`."""
    return re.sub(r"[^a-z0-9]+", "-", str(title or "").lower()).strip("-").lstrip("0123456789-")


def is_up(url: str) -> bool:
    try:
        with opener.open(url, timeout=TIMEOUT) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def operations(document: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield each path of the document, where the service has it, with its methods in gateway.yaml's order."""
    base = base_path(document)
    for path, item in document["paths"].items():
        known = {method.upper() for method in item} if isinstance(item, dict) else set()
        # The gateway responds to OPTIONS, and a GET's route takes HEAD.
        methods = [method for method in METHODS if method in known - {"OPTIONS"}]
        if methods:
            yield base + str(path), methods


def base_path(document: dict[str, Any]) -> str:
    """Return the path that the document's first server puts before all others."""
    servers = document.get("servers")
    url = servers[0].get("url", "") if isinstance(servers, list) and servers and isinstance(servers[0], dict) else ""
    return urlsplit(str(url)).path.rstrip("/")


def entry(service: str, path: str, methods: list[str], present: Present) -> list[str]:
    """Return the lines of a route, or a comment with the reason why it is left out."""
    try:
        pattern = patterns.parse(path)
    except ValueError as exc:
        return [f"  # {path} is left out: gateway.yaml takes {exc}"]
    if any(pattern.overlaps(patterns.parse(own)) for own in RESERVED):
        return [f"  # {path} is left out: the gateway uses this path itself"]
    routed = present.methods(pattern)
    left_out = [method for method in methods if method in routed]
    comment = [f"  # {path}: gateway.yaml routes {', '.join(left_out)} already"] if left_out else []
    if len(left_out) == len(methods):
        return comment
    text = path if re.fullmatch(r"[\w/{}.~-]+", path, re.ASCII) else f'"{path}"'
    return [
        *comment,
        f"  - path: {text}",
        f"    methods: [{', '.join(method for method in methods if method not in routed)}]",
        f"    service: {service}",
        "    allow:",
    ]


def name_at(origin: str, config: Config | None) -> str | None:
    """Return the name of the service that gateway.yaml has at this address."""
    return next((name for name, each in config.services.items() if origin in each.url), None) if config else None
