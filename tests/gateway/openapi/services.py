"""OpenAPI documents of services, for tests."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from drf_spectacular import validation
from tests.gateway.service import Reply, Seen

ROUTES: list[dict[str, Any]] = [
    {"path": "/api/things", "methods": ["GET"], "allow": "public"},
    {"path": "/api/things/{id}", "methods": ["GET"], "allow": ["admin", "clerk"]},
    {"path": "/api/undocumented", "methods": ["GET"], "allow": "public"},
]


@cache
def official() -> Any:
    """Return a validator of documents by the OpenAPI Initiative's schema, and by JSON Schema's own for schemas."""
    schema = json.loads((Path(validation.__file__).parent / "openapi_3_1_schema.json").read_text())
    schema["$defs"]["dialect"] = {"$dynamicAnchor": "meta", "$ref": schema["$schema"]}
    del schema["$defs"]["schema"]["$dynamicAnchor"]
    return jsonschema_rs.validator_for(schema)


def validate_schema(merged: dict[str, Any]) -> None:
    """Assert that the document has the structure of its version."""
    official().validate(merged)


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
