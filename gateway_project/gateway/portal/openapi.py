"""One OpenAPI document of what gateway.yaml exposes: the services' own, cut to the routes and merged."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from drf_spectacular.generators import SchemaGenerator

from gateway.config import Config, Route

Document = dict[str, Any]
# The gateway's own operations that begin or go on with a session, rather than need one.
PUBLIC = frozenset({"login", "token_refresh"})
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
SCHEME = "gatehouse"
PARAMETER = re.compile(r"\{[^}]*\}")
NAME = re.compile(r"\{(\w+)")


def shape(path: str) -> str:
    """Return the path with its parameters unnamed: a route and a service may name them differently."""
    return PARAMETER.sub("{}", path)


def renamed(node: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401  # JSON
    """Return the JSON with its references to components following the new names."""
    if isinstance(node, dict):
        return {
            key: names.get(value, value) if key == "$ref" and isinstance(value, str) else renamed(value, names)
            for key, value in node.items()
        }
    return [renamed(item, names) for item in node] if isinstance(node, list) else node


def add_components(merged: Document, service: str, document: Document) -> Document:
    """Add the document's components to the merged ones; return the document, referring to them under their names there.

    Of two different components of one name the later one is given its service's name in front.
    """
    names = {}
    for kind, components in document.get("components", {}).items():
        if kind == "securitySchemes":
            continue
        for name, component in components.items():
            known = merged["components"].setdefault(kind, {}).get(name)
            if known is not None and known != component:
                names[f"#/components/{kind}/{name}"] = f"#/components/{kind}/{service.title().replace('-', '')}{name}"
    document = cast("Document", renamed(document, names))
    for kind, components in document.get("components", {}).items():
        if kind != "securitySchemes":
            for name, component in components.items():
                reference = names.get(f"#/components/{kind}/{name}", f"/{name}")
                merged["components"].setdefault(kind, {})[reference.rpartition("/")[2]] = component
    return document


def operation_of(route: Route, written: str, operation: Document) -> Document:
    """Return the operation with the route's names for its parameters, and with what the gateway asks for."""
    names = dict(zip(NAME.findall(written), NAME.findall(route.path), strict=True))
    parameters = [
        each | {"name": names.get(each["name"], each["name"])} if each.get("in") == "path" else each
        for each in operation.get("parameters", [])
    ]
    operation = operation | ({"parameters": parameters} if parameters else {})
    if route.allow == "public":
        return operation | {"security": []}
    roles = "any signed-in user" if route.allow == "authenticated" else ", ".join(sorted(route.allow))
    description = f"{operation.get('description', '')}\n\nFor: {roles}.".strip()
    return operation | {"security": [{SCHEME: []}], "description": description}


def add_routes(merged: Document, config: Config, service: str, document: Document) -> None:
    """Add the operations of the service's document that its routes expose, under the routes' own paths."""
    by_shape = {shape(path): (path, operations) for path, operations in document.get("paths", {}).items()}
    for route in [route for route in config.routes if route.service == service]:
        written, operations = by_shape.get(shape(config.upstream_path(route)), (route.path, {}))
        exposed = merged["paths"].setdefault(route.path, {})
        for method in METHODS:
            if method.upper() in route.methods and method in operations:
                exposed[method] = operation_of(route, written, operations[method])
        if not exposed:
            del merged["paths"][route.path]


def merge(config: Config, own: Document, documents: Mapping[str, Document]) -> Document:
    """Return the gateway's own document with those of the services, each cut to what the routes expose."""
    merged: Document = {
        "openapi": own["openapi"],
        "info": own["info"],
        "paths": dict(own["paths"]),
        "components": {
            "schemas": dict(own.get("components", {}).get("schemas", {})),
            "securitySchemes": {
                SCHEME: {
                    "type": "oauth2",
                    "description": "Sign in with name and password; client_id and client_secret stay empty.",
                    "flows": {"password": {"tokenUrl": "/api/login", "refreshUrl": "/api/token/refresh", "scopes": {}}},
                }
            },
        },
    }
    for name, document in documents.items():
        add_routes(merged, config, name, add_components(merged, name, document))
    return merged


@cache
def own_document() -> Document:
    """Return the document of the gateway's own endpoints."""
    from gateway_project import urls  # the URLs import this module

    generator = cast("Any", SchemaGenerator)(patterns=urls.session_patterns)
    document = cast("Document", generator.get_schema(public=True))
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["security"] = [] if operation["operationId"] in PUBLIC else [{SCHEME: []}]
    return cast("Document", json.loads(json.dumps(document)))
