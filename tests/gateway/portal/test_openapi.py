"""The merged OpenAPI document."""

import json
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from drf_spectacular import validation
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema.validators import validator_for
from tests.gateway.service import Reply, Seen, Service

from gateway import configuration
from gateway.config import Config
from gateway.portal import documents, openapi
from gateway.portal.specification import COMPONENTS, OPERATION, SCHEMA

pytestmark = pytest.mark.django_db


@cache
def official(version: str) -> Any:
    """Return what checks documents of a version by the schema that the OpenAPI Initiative publishes."""
    name = f"openapi_{version.replace('.', '_')}_schema.json"
    schema = json.loads((Path(validation.__file__).parent / name).read_text())
    return validator_for(schema)(schema)


def validate_schema(merged: dict[str, Any]) -> None:
    """Assert that the document has the structure that its version asks for."""
    official(merged["openapi"][:3]).validate(merged)


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
        "/api/undocumented": {"get"},
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
    merged, _ = openapi.merge(config, own, {"one": same, "two-b": other})
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


def is_documented(client: Client) -> bool:
    return "operationId" in client.get("/openapi.json").json()["paths"]["/api/things"]["get"]


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
        assert not is_documented(client)
        merged = client.get("/openapi.json").json()
        assert merged["info"]["x-incomplete"] == {"things": "it has not responded yet"}
        assert asked.wait(10)
        # It is not asked again, and not waited for.
        monkeypatch.setattr(documents, "LIMIT", 60)
        assert not is_documented(client)
        assert len(things.seen) == 1
    finally:
        go_on.set()
    deadline = time.monotonic() + 10
    while not is_documented(client):
        assert time.monotonic() < deadline
    assert "x-incomplete" not in client.get("/openapi.json").json()["info"]


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
    assert "operationId" not in merged.json()["paths"]["/api/things"]["get"]
    assert "things" in caplog.text
    description = "Not complete. The OpenAPI documents of these have faults: things."
    assert merged.json()["info"]["description"] == description
    assert set(merged.json()["info"]["x-incomplete"]) == {"things"}


def test_a_service_that_does_not_respond_is_told_from_one_with_a_faulty_document(
    serve: Callable[..., Service], client: Client, configure: Callable[..., None]
) -> None:
    faulty = serve(lambda seen: Reply(200, b"[]"))
    configure(
        services={
            "faulty": {"url": faulty.url, "openapi": "/openapi.json"},
            "stopped": {"url": "http://127.0.0.1:1", "openapi": "/openapi.json"},
        },
        routes=[],
    )
    info = client.get("/openapi.json").json()["info"]
    assert info["description"] == (
        "Not complete. These services do not respond: stopped. The OpenAPI documents of these have faults: faulty."
    )
    assert set(info["x-incomplete"]) == {"faulty", "stopped"}


def test_a_route_without_a_document_is_listed_with_who_may_and_its_parameters(
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
    ok = {"get": {"summary": "It is documented", "responses": {"200": {"description": ""}}}}
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
        merged, _ = openapi.merge(config, {"openapi": "3.0.3", "info": {}, "paths": {}}, {"things": written})
        return {path for path, item in merged["paths"].items() if "summary" in item["get"]}

    assert paths(trailing_slash="append") == {"/api/things", "/api/things/{id}", "/pages/"}
    assert paths() == {"/pages/", "/kept"}


OWN = {"openapi": "3.0.3", "info": {"title": "Gatehouse", "version": "1"}, "paths": {}}


def config_of(*services: str) -> Config:
    """Return a configuration in which each service has things, one by id, and files."""
    return configuration.current().model_validate(
        {
            "version": 1,
            "services": {name: {"url": "http://127.0.0.1:1"} for name in services},
            "routes": [
                {"path": f"/{name}{path}", "methods": ["GET", "POST"], "service": name, "allow": "public"}
                for name in services
                for path in ("/things", "/things/{id}", "/files/{path...}")
            ],
        }
    )


def merged_of(**documents: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the merged document of these services, which has to be valid, and the faults."""
    merged, faults = openapi.merge(config_of(*documents), OWN, documents)
    validate_schema(merged)
    json.dumps(merged, allow_nan=False)
    return merged, faults


ODD: list[Any] = [None, [], [None], {}, 0, True, "", "x", {"a": None}, [{}], {"$ref": 5}, {"$ref": "#/nowhere"}]
PLACES: list[Callable[[Any], dict[str, Any]]] = [
    lambda odd: odd if isinstance(odd, dict) else {},
    lambda odd: {"paths": odd},
    lambda odd: {"components": odd},
    lambda odd: {"paths": {"/one/things": odd}},
    lambda odd: {"paths": {"/one/things": {"get": odd, "parameters": odd}}},
    lambda odd: {"paths": {"/one/things": {"get": {"responses": {}}, "parameters": [odd]}}},
    *(
        lambda odd, name=name: {"paths": {"/one/things": {"get": {name: odd}}}}  # type: ignore[misc]
        for name in ("parameters", "responses", "requestBody", "tags", "operationId", "description", "security")
    ),
    lambda odd: {"paths": {"/one/things": {"get": {"parameters": [odd, {"in": "query"}, {"name": "q", "in": odd}]}}}},
    lambda odd: {"paths": {"/one/things": {"get": {"responses": {"200": odd, "banana": {}, "default": odd}}}}},
    lambda odd: {"paths": {"/one/things": {"get": {"responses": {"200": {"content": odd, "headers": odd}}}}}},
    lambda odd: {"components": {"schemas": odd, "parameters": odd, "responses": odd}},
    lambda odd: {"components": {"schemas": {"A": odd, "B": {"properties": odd, "allOf": odd, "required": odd}}}},
    lambda odd: {"components": {kind: {"A": odd, "a b": odd} for kind in COMPONENTS}},
    lambda odd: {"openapi": "3.1.0", "components": {"schemas": {"A": {"items": odd, "$defs": odd, "if": odd}}}},
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("place", range(len(PLACES)))
def test_what_is_malformed_is_left_out_and_costs_no_other_service_anything(place: int, odd: Any) -> None:
    sound = {"paths": {"/two/things": {"get": {"operationId": "sound", "responses": {}}}}}
    merged, faults = merged_of(one=PLACES[place](odd), two=sound)
    assert merged["paths"]["/two/things"]["get"]["operationId"] == "sound"
    assert "get" in merged["paths"]["/one/things"]
    assert set(faults) <= {"one"}
    assert set(merged["info"].get("x-incomplete", {})) == set(faults)


def test_what_is_malformed_is_named(things: Service, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    things.answer = answering(json.dumps(document() | {"paths": None}).encode())
    reply = client.get("/openapi.json")
    assert reply.status_code == 200
    assert reply.json()["info"]["x-incomplete"] == {"things": "paths: expected an object"}
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert (
        line == "What is malformed in the OpenAPI document of the things service is left out: paths: expected an object"
    )


def test_parameters_of_a_path_are_those_of_its_operations_which_may_replace_them() -> None:
    def query(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "in": "query", "schema": {"type": "string"}} | more

    written = {
        "paths": {
            "/one/things/{pk}": {
                "parameters": [
                    {"name": "pk", "in": "path", "required": True, "schema": {"type": "integer"}},
                    query("page"),
                    {"$ref": "#/components/parameters/Size"},
                ],
                "get": {"parameters": [query("page", description="own")], "responses": {}},
                "post": {"responses": {}},
            }
        },
        "components": {"parameters": {"Size": query("size")}},
    }
    merged, faults = merged_of(one=written)
    assert not faults
    item = merged["paths"]["/one/things/{id}"]
    for method in ("get", "post"):
        assert [each["name"] for each in item[method]["parameters"]] == ["id", "page", "size"]
    assert item["get"]["parameters"][0]["schema"] == {"type": "integer"}
    assert item["get"]["parameters"][1]["description"] == "own"
    assert "description" not in item["post"]["parameters"][1]


def schema_at(merged: dict[str, Any], path: str) -> Any:
    return merged["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]


def listing(path: str, schemas: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    ok = {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}
    return {"paths": {path: {"get": {"operationId": "list", "responses": ok}}}, "components": {"schemas": schemas}}


def test_what_refers_to_a_component_of_another_service_s_name_is_another_too() -> None:
    page = {"properties": {"results": {"items": {"$ref": "#/components/schemas/Thing"}}}}
    to_page = {"$ref": "#/components/schemas/Page"}
    merged, _ = merged_of(
        one=listing("/one/things", {"Thing": {"type": "object"}, "Page": page}, to_page),
        two=listing("/two/things", {"Thing": {"type": "string"}, "Page": page}, to_page),
    )
    schemas = merged["components"]["schemas"]
    assert set(schemas) == {"Thing", "Page", "TwoThing", "TwoPage"}
    assert schemas["Page"]["properties"]["results"]["items"] == {"$ref": "#/components/schemas/Thing"}
    assert schemas["TwoPage"]["properties"]["results"]["items"] == {"$ref": "#/components/schemas/TwoThing"}
    assert schema_at(merged, "/two/things") == {"$ref": "#/components/schemas/TwoPage"}
    assert [merged["paths"][f"/{name}/things"]["get"]["operationId"] for name in ("one", "two")] == ["list", "two_list"]


def test_what_stands_beside_a_reference_stays_with_it_and_data_is_no_reference() -> None:
    data = {"$ref": "#/components/schemas/Thing"}
    thing = {"type": "object", "properties": {"$ref": {"type": "string"}}, "example": data}
    beside = data | {"description": "the thing"}
    merged, faults = merged_of(
        one=listing("/one/things", {"Thing": {"type": "string"}}, data),
        two=listing("/two/things", {"Thing": thing}, beside),
    )
    assert not faults
    assert schema_at(merged, "/two/things") == beside | {"$ref": "#/components/schemas/TwoThing"}
    assert merged["components"]["schemas"]["TwoThing"] == thing


def test_a_discriminator_follows_its_schemas() -> None:
    thing = {"$ref": "#/components/schemas/Thing"}
    mapping = {"a": "Thing", "b": thing["$ref"], "c": "http://internal/other.json"}
    either = {
        "oneOf": [{"$ref": "#/components/schemas/Thing"}],
        "discriminator": {"propertyName": "k", "mapping": mapping},
    }
    merged, faults = merged_of(
        one=listing("/one/things", {"Thing": {"type": "string"}}, {}),
        two=listing("/two/things", {"Thing": {"type": "object"}}, either),
    )
    new = schema_at(merged, "/two/things")["discriminator"]["mapping"]
    assert new == {"a": "TwoThing", "b": "#/components/schemas/TwoThing"}
    assert "two" in faults


def test_a_document_of_openapi_3_1_stays_one() -> None:
    schema = {"type": ["string", "null"], "exclusiveMinimum": 0, "examples": ["a"], "const": "b", "$defs": {"x": True}}
    written = listing("/one/things", {"Thing": schema}, {"$ref": "#/components/schemas/Thing"}) | {"openapi": "3.1.0"}
    merged, faults = merged_of(one=written)
    assert not faults
    assert merged["openapi"] == "3.1.0"
    assert merged["components"]["schemas"]["Thing"] == schema


def test_an_address_inside_the_network_is_not_published() -> None:
    inside = [{"url": "http://10.0.0.1:9000"}]
    written = {
        "servers": inside,
        "paths": {
            "/one/things": {
                "servers": inside,
                "get": {
                    "servers": inside,
                    "callbacks": {"done": {"http://10.0.0.1/": {}}},
                    "responses": {"200": {"$ref": "http://10.0.0.1/x.json"}},
                },
            }
        },
    }
    merged, _ = merged_of(one=written)
    assert "10.0.0.1" not in json.dumps(merged)


WORDS = [
    "$ref", "paths", "components", "schemas", "parameters", "responses", "get", "post", "/one/things",
    "/one/things/{pk}", "/one/files/{p}", "in", "path", "query", "header", "cookie", "name", "pk", "required",
    "schema", "content", "application/json", "200", "default", "description", "type", "object", "properties",
    "items", "allOf", "A", "B", "#/components/schemas/A", "#/components/parameters/B",
    "#/components/responses/A/x", "requestBody", "examples", "requestBodies", "headers", "example", "enum",
    "openapi", "3.1.0", "operationId", "tags", "style", "discriminator", "propertyName", "mapping",
    "encoding", "x-a", "oneOf", "additionalProperties", "multipleOf", "value",
]  # fmt: skip
words = st.sampled_from(WORDS) | st.text(max_size=3)
documents_of_any_kind = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=25,
)
some_schema = st.fixed_dictionaries({}, optional=dict.fromkeys(SCHEMA, documents_of_any_kind) | {"$ref": words})
some_parameter = st.fixed_dictionaries(
    {"name": words, "in": st.sampled_from(["path", "query", "header", "cookie"])},
    optional=dict.fromkeys(("content", "examples", "style", "explode"), documents_of_any_kind)
    | {"schema": some_schema},
)
some_operation = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(OPERATION, documents_of_any_kind) | {"parameters": st.lists(some_parameter, max_size=3)},
)
some_document = st.fixed_dictionaries(
    {},
    optional={
        "openapi": st.sampled_from(["3.0.3", "3.1.0"]) | documents_of_any_kind,
        "paths": st.dictionaries(
            st.sampled_from(["/one/things", "/one/things/{pk}", "/one/files/{p}", "/one/things/{}"]),
            st.fixed_dictionaries(
                {}, optional={"get": some_operation, "parameters": st.lists(some_parameter, max_size=2)}
            ),
        ),
        "components": st.fixed_dictionaries(
            {},
            optional={kind: st.dictionaries(st.sampled_from("AB"), documents_of_any_kind) for kind in COMPONENTS}
            | {"schemas": st.dictionaries(st.sampled_from("AB"), some_schema)},
        ),
    },
)


@hypothesis_settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(words, documents_of_any_kind, max_size=5) | some_document, some_document)
def test_whatever_services_say_the_merged_document_is_one(one: dict[str, Any], two: dict[str, Any]) -> None:
    merged, faults = merged_of(one=one, two=two, three={})
    assert set(merged["paths"]) == {route.path for route in config_of("one", "two", "three").routes}
    assert "three" not in faults
