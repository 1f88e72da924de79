"""OpenAPI documents of services, for tests."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from drf_spectacular import validation
from jsonschema.validators import validator_for
from tests.gateway.service import Reply, Seen

ROUTES: list[dict[str, Any]] = [
    {"path": "/api/things", "methods": ["GET"], "allow": "public"},
    {"path": "/api/things/{id}", "methods": ["GET"], "allow": ["admin", "clerk"]},
    {"path": "/api/undocumented", "methods": ["GET"], "allow": "public"},
]


@cache
def official(version: str) -> Any:
    """Return a validator of documents of a version, by the OpenAPI Initiative's schema."""
    name = f"openapi_{version.replace('.', '_')}_schema.json"
    schema = json.loads((Path(validation.__file__).parent / name).read_text())
    return validator_for(schema)(schema)


def validate_schema(merged: dict[str, Any]) -> None:
    """Assert that the document has the structure of its version."""
    official(merged["openapi"][:3]).validate(merged)


def document(**schemas: Any) -> dict[str, Any]:
    """Return a service's document: things, and an internal path."""
    thing = {"$ref": "#/components/schemas/Thing"}
    ok = {"200": {"content": {"application/json": {"schema": thing}}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": "Things", "version": "1"},
        "paths": {
            "/api/things": {
                "get": {"operationId": "list", "responses": ok},
                "post": {"operationId": "make", "responses": ok},
            },
            "/api/things/{thing_id}": {"get": {"operationId": "get", "responses": ok}, "delete": {"responses": {}}},
            "/internal/secret": {"get": {"operationId": "secret", "responses": ok}},
        },
        "components": {
            "schemas": {"Thing": {"type": "object"}} | schemas,
            "securitySchemes": {"own": {"type": "http", "scheme": "basic"}},
        },
    }


def answering(text: bytes) -> Callable[[Seen], Reply]:
    """Return a service that responds with its document."""
    return lambda seen: Reply(200, text, [("Content-Type", "application/vnd.oai.openapi+json")])
