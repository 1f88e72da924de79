"""The merged OpenAPI document that the gateway serves, and its pages."""

import json
import re
from collections.abc import Callable

import pytest
from django.test import Client
from tests.gateway.openapi.services import answering, document, validate_schema
from tests.gateway.service import Service

pytestmark = pytest.mark.django_db


def test_the_merged_document_contains_only_what_is_exposed(things: Service, client: Client) -> None:
    merged = client.get("/openapi.json").json()
    assert {path: set(operations) for path, operations in merged["paths"].items()} == {
        "/api/login": {"post"},
        "/api/token/refresh": {"post"},
        "/api/logout": {"post"},
        "/api/sessions": {"get"},
        "/api/sessions/{session_id}": {"delete"},
        "/api/users/{user_id}/sessions": {"delete"},
        "/api/things": {"get"},
        "/api/things/{id}": {"get"},
        "/api/undocumented": {"get"},
    }
    assert "own" not in merged["components"]["securitySchemes"]
    assert merged["components"]["schemas"]["Thing"] == {"type": "object"}


def test_a_path_parameter_has_the_route_s_name(things: Service, client: Client) -> None:
    things.answer = answering(
        json.dumps(
            document()
            | {
                "paths": {
                    "/api/things/{thing_id}": {
                        "parameters": [{"name": "thing_id", "in": "path", "required": True}],
                        "get": {
                            "parameters": [
                                {"name": "thing_id", "in": "path", "required": True},
                                {"name": "q", "in": "query"},
                            ],
                            "responses": {},
                        },
                    }
                }
            }
        ).encode()
    )
    operation = client.get("/openapi.json").json()["paths"]["/api/things/{id}"]["get"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["id", "q"]


def test_each_operation_names_the_roles_it_is_for(things: Service, client: Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert paths["/api/things"]["get"]["security"] == []
    assert paths["/api/things/{id}"]["get"]["security"] == [{"gatehouse": []}]
    assert "admin, clerk" in paths["/api/things/{id}"]["get"]["description"]
    assert paths["/api/login"]["post"]["security"] == []
    assert paths["/api/logout"]["post"]["security"] == [{"gatehouse": []}]


def test_swagger_s_authorize_logs_in_at_the_gateway(things: Service, client: Client) -> None:
    scheme = client.get("/openapi.json").json()["components"]["securitySchemes"]["gatehouse"]
    assert scheme["flows"]["password"]["tokenUrl"] == "/api/login"


def test_a_route_without_a_document_is_listed_with_its_roles_and_parameters(
    client: Client, configure: Callable[..., None]
) -> None:
    configure(
        services={"quiet": {"url": "http://127.0.0.1:1"}},
        routes=[
            {"path": "/api/things/{id}/{rest...}", "methods": ["GET", "PUT"], "service": "quiet", "allow": ["clerk"]},
            {"path": "/pages/{path...}", "service": "quiet", "allow": "public", "browser": "passthrough"},
        ],
    )
    merged = client.get("/openapi.json").json()
    validate_schema(merged)
    assert "x-incomplete" not in merged["info"]
    assert "/pages/{path...}" not in merged["paths"]
    item = merged["paths"]["/api/things/{id}/{rest...}"]
    assert set(item) == {"get", "put"}
    for operation in item.values():
        assert (operation["tags"], operation["description"]) == (["quiet"], "For: clerk.")
        assert operation["security"] == [{"gatehouse": []}]
        assert [(each["name"], each["in"]) for each in operation["parameters"]] == [("id", "path"), ("rest...", "path")]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_pages_load_only_files_of_the_gateway(things: Service, client: Client, path: str) -> None:
    page = client.get(path).content.decode()
    assert "/openapi.json" in page + client.get(f"{path}?script=").content.decode()
    sources = [source for source in re.findall(r'(?:src|href)="([^"]+)"', page) if not source.startswith("data:")]
    assert sources
    assert all(source.startswith(("/", "#")) for source in sources), sources
    for source in sources:
        reply = client.get(source)
        assert reply.status_code == 200, source
        reply.close()
