"""The merged OpenAPI document."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.gateway.service import Reply, Seen, Service

from gateway import configuration
from gateway.portal import documents, openapi

pytestmark = pytest.mark.django_db


def document(**schemas: Any) -> dict[str, Any]:
    """Return a service's document: things, and something internal."""
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
    """Return a service that answers its document."""
    return lambda seen: Reply(200, text, [("Content-Type", "application/vnd.oai.openapi+json")])


ROUTES: list[dict[str, Any]] = [
    {"path": "/api/things", "methods": ["GET"], "allow": "public"},
    {"path": "/api/things/{id}", "methods": ["GET"], "allow": ["admin", "clerk"]},
    {"path": "/api/undocumented", "methods": ["GET"], "allow": "public"},
]


@pytest.fixture
def things(serve: Callable[..., Service], configure: Callable[..., None]) -> Service:
    """A documented service."""
    service = serve(answering(json.dumps(document()).encode()))
    configure(
        services={"things": {"url": service.url, "openapi": "/openapi.json"}},
        routes=[route | {"service": "things"} for route in ROUTES],
    )
    return service


def test_it_holds_what_is_exposed_and_nothing_else(things: Service, client: Client) -> None:
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
    }
    assert "own" not in merged["components"]["securitySchemes"]
    assert merged["components"]["schemas"]["Thing"] == {"type": "object"}


def test_the_parameter_has_the_route_s_name(things: Service, client: Client) -> None:
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


def test_each_operation_says_who_may(things: Service, client: Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert paths["/api/things"]["get"]["security"] == []
    assert paths["/api/things/{id}"]["get"]["security"] == [{"gatehouse": []}]
    assert "admin, clerk" in paths["/api/things/{id}"]["get"]["description"]
    assert paths["/api/login"]["post"]["security"] == []
    assert paths["/api/logout"]["post"]["security"] == [{"gatehouse": []}]


def test_authorize_signs_in_at_the_gateway(things: Service, client: Client) -> None:
    scheme = client.get("/openapi.json").json()["components"]["securitySchemes"]["gatehouse"]
    assert scheme["flows"]["password"]["tokenUrl"] == "/api/login"


def test_components_of_one_name_stay_apart_where_they_differ() -> None:
    same, other = document(Problem={"type": "object"}), document(Problem={"type": "object"}, Thing={"type": "string"})
    routes = [
        {"path": "/api/things", "methods": ["GET"], "service": "one", "allow": "public"},
        {"path": "/api/things/{id}", "methods": ["GET"], "service": "two-b", "allow": "public"},
    ]
    config = configuration.current().model_validate(
        {"version": 1, "services": {name: {"url": "http://127.0.0.1:1"} for name in ("one", "two-b")}, "routes": routes}
    )
    own = {"openapi": "3.0.3", "info": {}, "paths": {}}
    merged = openapi.merge(config, own, {"one": same, "two-b": other})
    schemas = merged["components"]["schemas"]
    assert schemas == {"Thing": {"type": "object"}, "TwoBThing": {"type": "string"}, "Problem": {"type": "object"}}

    def used(path: str) -> str:
        schema = merged["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        return str(schema["$ref"]).rpartition("/")[2]

    assert (used("/api/things"), used("/api/things/{id}")) == ("Thing", "TwoBThing")


def test_a_service_that_is_away_keeps_its_last_document(
    things: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "FRESH", 0)
    monkeypatch.setattr(documents, "SHARED", 0)
    first = client.get("/openapi.json").json()
    assert "/api/things" in first["paths"]
    asked = len(things.seen)
    things.answer = lambda seen: None
    assert client.get("/openapi.json").json() == first
    assert len(things.seen) > asked


def test_a_document_that_takes_longer_than_anyone_waits_is_there_for_the_next(
    things: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "LIMIT", 0.1)
    monkeypatch.setattr(documents, "SHARED", 0)
    asked, go_on = threading.Event(), threading.Event()
    answer = things.answer

    def slow(seen: Seen) -> Reply | None:
        asked.set()
        assert go_on.wait(60)
        return answer(seen)

    things.answer = slow
    try:
        assert "/api/things" not in client.get("/openapi.json").json()["paths"]
        assert asked.wait(10)
        # It is not asked again, and not waited for.
        monkeypatch.setattr(documents, "LIMIT", 60)
        assert "/api/things" not in client.get("/openapi.json").json()["paths"]
        assert len(things.seen) == 1
    finally:
        go_on.set()
    deadline = time.monotonic() + 10
    while "/api/things" not in client.get("/openapi.json").json()["paths"]:
        assert time.monotonic() < deadline


def test_a_document_that_has_changed_is_there_once_it_is_asked_for_again(
    things: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "SHARED", 0)
    assert client.get("/openapi.json").json()["paths"]["/api/things"]["get"]["operationId"] == "list"
    things.answer = answering(json.dumps(document()).replace('"list"', '"all"').encode())
    assert client.get("/openapi.json").json()["paths"]["/api/things"]["get"]["operationId"] == "list"
    monkeypatch.setattr(documents, "FRESH", 0)
    documents.documents().due.clear()
    assert client.get("/openapi.json").json()["paths"]["/api/things"]["get"]["operationId"] == "all"


def test_what_is_wrong_with_a_document_is_logged_once(
    things: Service, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(documents, "SHARED", 0)
    things.answer = lambda seen: Reply(500)
    for _ in range(3):
        client.get("/openapi.json")
    assert len(things.seen) == 3
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line == "The OpenAPI document of the things service cannot be used: /openapi.json answered 500, not 200"


@pytest.mark.parametrize(
    "answer",
    [Reply(500), Reply(200, b"{no json"), Reply(200, b"[]"), Reply(200, b'{"a": NaN}'), Reply(200, b"[" * 100_000)],
)
def test_without_a_document_the_rest_is_there(
    things: Service, client: Client, answer: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    things.answer = lambda seen: answer
    merged = client.get("/openapi.json")
    assert merged.status_code == 200
    assert "/api/login" in merged.json()["paths"]
    assert "/api/things" not in merged.json()["paths"]
    assert "things" in caplog.text


def test_a_document_is_asked_for_once_in_a_while(things: Service, client: Client) -> None:
    for _ in range(3):
        client.get("/openapi.json")
    assert len(things.seen) == 1


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_load_nothing_from_elsewhere(things: Service, client: Client, path: str) -> None:
    import re

    page = client.get(path).content.decode()
    assert "/openapi.json" in page + client.get(f"{path}?script=").content.decode()
    sources = [source for source in re.findall(r'(?:src|href)="([^"]+)"', page) if not source.startswith("data:")]
    assert sources
    assert all(source.startswith("/") for source in sources), sources
    for source in sources:
        reply = client.get(source)
        assert reply.status_code == 200, source
        reply.close()


def test_a_document_with_slashes_is_read_as_the_service_is_sent_its_paths(things: Service) -> None:
    ok = {"get": {"operationId": "list", "responses": {"200": {"description": ""}}}}
    written = {"paths": {"/api/things/": ok, "/api/things/{pk}/": ok, "/pages/": ok, "/kept": ok}}

    def paths(**service: str) -> set[str]:
        config = configuration.current().model_validate(
            {
                "version": 1,
                "services": {"things": {"url": "http://127.0.0.1:1"} | service},
                "routes": [
                    {"path": path, "methods": ["GET"], "service": "things", "allow": "public"}
                    for path in ("/api/things", "/api/things/{id}", "/pages/", "/kept")
                ],
            }
        )
        merged = openapi.merge(config, {"openapi": "3.0.3", "info": {}, "paths": {}}, {"things": written})
        return set(merged["paths"])

    assert paths(trailing_slash="append") == {"/api/things", "/api/things/{id}", "/pages/"}
    assert paths() == {"/pages/", "/kept"}
