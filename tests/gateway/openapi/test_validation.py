"""Requests that the service's document does not allow: rejected or reported, the same at both doors."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.gateway.proxy.client import ask, opened
from tests.gateway.runtimes import runtime
from tests.gateway.service import Reply, Seen, Service
from tests.waiting import wait_until

from gateway.openapi.validation import Check
from gateway.policy.routes import RouteTable
from gateway.portal.prometheus import REGISTRY

pytestmark = pytest.mark.django_db(transaction=True)
ITEM = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "title": {"type": "string", "minLength": 1},
        "pages": {"type": "integer", "nullable": True},
        "tags": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "email": {"oneOf": [{"type": "string", "format": "email"}, {"type": "string", "maxLength": 0}]},
    },
    "required": ["id", "title"],
    "additionalProperties": False,
}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Things", "version": "1"},
    "paths": {
        "/api/things/{pk}": {
            "post": {
                "operationId": "change",
                "parameters": [
                    {"name": "pk", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 9}},
                    {"name": "q", "in": "query", "required": True, "schema": {"type": "string"}},
                    {"name": "kind", "in": "query", "schema": {"type": "array", "items": {"enum": ["a", "b"]}}},
                    {"name": "X-Mode", "in": "header", "schema": {"enum": ["fast"]}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}},
                },
                "responses": {"200": {"description": "OK."}},
            }
        }
    },
    "components": {"schemas": {"Item": ITEM}},
}
GOOD = b'{"title": "a"}'
# Target, headers, body, and the fields at fault.
CASES: list[tuple[str, dict[str, str], bytes, set[str]]] = [
    ("/api/things/1?q=5", {}, GOOD, set()),
    ("/api/things/1?q=true&limit=9&kind=a&kind=b&other=1", {"X-Mode": "fast"}, GOOD, set()),
    ("/api/things/1?q=", {}, b'{"title": "a", "pages": null, "email": ""}', set()),
    ("/api/things/1?q=a", {}, b'{"title": "a", "email": "no address"}', set()),
    ("/api/things/0?q=a", {}, GOOD, {"id"}),
    ("/api/things/x?q=a", {}, GOOD, {"id"}),
    ("/api/things/1", {}, GOOD, {"q"}),
    ("/api/things/1?q=a&limit=10", {}, GOOD, {"limit"}),
    ("/api/things/1?q=a&limit=many", {}, GOOD, {"limit"}),
    ("/api/things/1?q=a&kind=a&kind=c", {}, GOOD, {"kind.1"}),
    ("/api/things/1?q=a", {"X-Mode": "slow"}, GOOD, {"X-Mode"}),
    ("/api/things/1?q=a", {}, b"", {"non_field_errors"}),
    ("/api/things/1?q=a", {}, b"[]", {"non_field_errors"}),
    ("/api/things/1?q=a", {}, b"{}", {"title"}),
    ("/api/things/1?q=a", {}, b'{"title": "", "pages": "5", "x": 1}', {"title", "pages", "x"}),
    ("/api/things/1?q=a", {}, b'{"title": "a", "tags": [{"name": "n"}, {}]}', {"tags.1.name"}),
]


@pytest.fixture
def put(serve: Callable[..., Service], configure: Callable[..., None]) -> Callable[[str], Service]:
    """Put a service with the document behind a route."""

    def put(mode: str) -> Service:
        def answer(seen: Seen) -> Reply:
            return Reply.json(DOCUMENT if seen.target == "/openapi.json" else {})

        service = serve(answer)
        configure(
            services={"things": {"url": service.url, "openapi": "/openapi.json"}},
            routes=[{"path": "/api/things/{id}", "service": "things", "allow": "public", "validate": mode}],
        )
        return service

    return put


def read_documents() -> None:
    runtime().upstreams.run(runtime().validation.look())


def through_django(target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
    reply = Client(headers={"Host": "testserver"}).post(target, body, "application/json", headers=headers)
    return reply.status_code, reply.json()


def through_the_fast_door(target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
    async def send() -> tuple[int, Any]:
        async with opened() as door:
            sent = [*headers.items(), ("content-type", "application/json"), ("content-length", str(len(body)))]
            reply = await ask(door, "POST", target, sent, body)
            return reply.status, json.loads(reply.body)

    return asyncio.run(send())


DOORS = [through_django, through_the_fast_door]


@pytest.mark.parametrize("door", DOORS)
def test_an_invalid_request_is_rejected_before_the_service_receives_it(
    put: Callable[[str], Service], door: Callable[..., tuple[int, Any]]
) -> None:
    service = put("enforce")
    read_documents()
    for target, headers, body, fields in CASES:
        service.seen.clear()
        status, content = door(target, headers, body)
        if fields:
            assert (status, content["code"], content["origin"]) == (400, "validation_failed", "gateway"), (target, body)
            assert set(content["errors"]) == fields, (target, body)
            assert service.seen == []
        else:
            assert (status, content) == (200, {}), (target, body)
            assert [(seen.target, seen.body) for seen in service.seen] == [(target, body)]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{no json", "Invalid JSON at line 1, column 2."),
        (b'{"title": "a",\n "pages": }', "Invalid JSON at line 2, column 11."),
        (b'{"title": "a"', "Incomplete JSON: it ends at line 1, column 14."),
        (b'{"title": "\xff"}', "The body is not UTF-8: byte 12. Send JSON in UTF-8."),
        (b"[" * 100_000, "The JSON is nested too deeply. Send fewer levels."),
    ],
)
def test_a_body_that_is_not_json_has_the_code_and_the_detail_that_services_give(
    put: Callable[[str], Service], door: Callable[..., tuple[int, Any]], body: bytes, detail: str
) -> None:
    service = put("enforce")
    read_documents()
    service.seen.clear()
    status, content = door("/api/things/1?q=a", {}, body)
    assert (status, content["code"], content["detail"], content["origin"]) == (
        400,
        "malformed_body",
        detail,
        "gateway",
    )
    assert "errors" not in content
    assert service.seen == []


def test_a_body_that_is_not_json_can_be_counted_instead(put: Callable[[str], Service]) -> None:
    put("report")
    read_documents()
    before = counted()
    assert through_django("/api/things/1?q=a", {}, b"{no json") == (200, {})
    assert counted() == before + 1


def test_what_a_client_sent_is_not_repeated(put: Callable[[str], Service]) -> None:
    put("enforce")
    read_documents()
    _, content = through_django("/api/things/1?q=a", {}, b'{"title": {"password": "secret"}}')
    assert content["errors"] == {"title": ['The value is not of type "string".']}


def counted() -> float:
    return (
        REGISTRY.get_sample_value("gateway_invalid_requests_total", {"method": "POST", "route": "/api/things/{id}"})
        or 0
    )


@pytest.mark.parametrize("door", DOORS)
def test_an_invalid_request_can_be_counted_and_logged_once_instead(
    put: Callable[[str], Service], door: Callable[..., tuple[int, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    put("report")
    read_documents()
    before = counted()
    for _ in range(3):
        assert door("/api/things/1?q=a", {}, b'{"title": ["secret"]}') == (200, {})
    assert counted() == before + 3
    lines = [record.getMessage() for record in caplog.records if record.name == "gateway.openapi.validation"]
    assert lines == ["POST /api/things/{id} got a request that its document does not allow: ['title']"]


def test_nothing_is_rejected_until_the_document_is_there_which_the_first_request_asks_for(
    put: Callable[[str], Service],
) -> None:
    put("enforce")
    assert through_django("/api/things/1", {}, b"[]") == (200, {})
    wait_until(lambda: runtime().validation.checks, "the document")
    assert through_django("/api/things/1", {}, b"[]")[0] == 400


def readiness() -> tuple[int, Any]:
    return runtime().upstreams.run(runtime().readiness.report())


def test_readiness_names_missing_documents_and_stays_ready(
    serve: Callable[..., Service], configure: Callable[..., None]
) -> None:
    present = False
    service = serve(lambda seen: Reply.json(DOCUMENT) if present else Reply(404))
    configure(
        services={
            "things": {"url": service.url, "openapi": "/openapi.json"},
            "other": {"url": service.url, "openapi": "/openapi.json"},
        },
        routes=[
            {"path": "/api/things/{id}", "service": "things", "allow": "public", "validate": "enforce"},
            {"path": "/api/other", "service": "other", "allow": "public"},
        ],
    )
    status, report = readiness()
    assert (status, report["documents"]) == (200, {"things": "not read yet; requests are not checked"})
    missing = "cannot be read: /openapi.json responded with 404, not 200; requests are not checked"
    wait_until(lambda: readiness()[1]["documents"] == {"things": missing}, "the fault")
    assert readiness()[0] == 200
    present = True

    def is_there() -> bool:
        read_documents()
        return readiness()[1]["documents"] == {"things": "ok"}

    wait_until(is_there, "the document")


def test_readiness_has_no_documents_where_nothing_is_validated(put: Callable[[str], Service]) -> None:
    put("skip")
    assert "documents" not in readiness()[1]


@pytest.mark.parametrize("door", DOORS)
def test_a_large_body_is_checked_once_it_is_whole(
    put: Callable[[str], Service], door: Callable[..., tuple[int, Any]]
) -> None:
    service = put("enforce")
    read_documents()
    body = json.dumps({"title": "a", "unknown": "x" * 600_000}).encode()
    assert door("/api/things/1?q=a", {}, body)[0] == 400
    assert [seen for seen in service.seen if seen.method == "POST"] == []


def test_a_route_without_validate_has_no_policies(configure: Callable[..., None]) -> None:
    configure(
        services={"things": {"url": "http://127.0.0.1:1"}},
        routes=[{"path": "/a", "service": "things", "allow": "public"}],
    )
    assert RouteTable(runtime().config).match("GET", "/a").policies is None


def test_a_schema_that_cannot_be_compiled_leaves_the_others_checked() -> None:
    with pytest.raises(ValueError):
        Check({"parameters": [{"in": "query", "name": "q", "schema": {"pattern": "("}}]}, {})
