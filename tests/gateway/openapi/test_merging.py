"""Merging documents: clashes of names, what is malformed, and what services keep to themselves."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.gateway.openapi.services import document, validate_schema

from chassis.problem_responses import PROBLEM_SCHEMA
from gateway.config import Config
from gateway.openapi import merging
from gateway.openapi.documents import own_document
from gateway.openapi.reading import KINDS, OPERATION

OWN = {"openapi": "3.0.3", "info": {"title": "Gatehouse", "version": "1"}, "paths": {}}


def config_of(*services: str) -> Config:
    """Return a configuration in which each service has things, one by id, and files."""
    return Config.model_validate(
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
    merged, faults = merging.merge(config_of(*documents), OWN, documents)
    validate_schema(merged)
    json.dumps(merged, allow_nan=False)
    return merged, faults


def test_different_components_of_one_name_are_both_kept() -> None:
    same, other = document(Problem={"type": "object"}), document(Problem={"type": "object"}, Thing={"type": "string"})
    routes = [
        {"path": "/api/things", "methods": ["GET"], "service": "one", "allow": "public"},
        {"path": "/api/things/{id}", "methods": ["GET"], "service": "two-b", "allow": "public"},
    ]
    config = Config.model_validate(
        {"version": 1, "services": {name: {"url": "http://127.0.0.1:1"} for name in ("one", "two-b")}, "routes": routes}
    )
    merged, _ = merging.merge(config, OWN, {"one": same, "two-b": other})
    schemas = merged["components"]["schemas"]
    assert schemas == {
        "Thing": {"type": "object"},
        "TwoBThing": {"type": "string"},
        "Problem": PROBLEM_SCHEMA,
        "OneProblem": {"type": "object"},
        "TwoBProblem": {"type": "object"},
    }

    def used(path: str) -> str:
        schema = merged["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        return str(schema["$ref"]).rpartition("/")[2]

    assert (used("/api/things"), used("/api/things/{id}")) == ("Thing", "TwoBThing")


def test_trailing_slashes_of_a_document_match_the_paths_that_the_service_receives() -> None:
    ok = {"get": {"summary": "It is documented", "responses": {"200": {"description": ""}}}}
    written = {"paths": {"/api/things/": ok, "/api/things/{pk}/": ok, "/pages/": ok, "/kept": ok}}

    def paths(**service: str) -> set[str]:
        config = Config.model_validate(
            {
                "version": 1,
                "services": {"things": {"url": "http://127.0.0.1:1"} | service},
                "routes": [
                    {"path": path, "methods": ["GET"], "service": "things", "allow": "public"}
                    for path in ("/api/things", "/api/things/{id}", "/pages/", "/kept")
                ],
            }
        )
        merged, _ = merging.merge(config, OWN, {"things": written})
        return {path for path, item in merged["paths"].items() if "summary" in item["get"]}

    assert paths(trailing_slash="append") == {"/api/things", "/api/things/{id}", "/pages/"}
    assert paths() == {"/pages/", "/kept"}


@pytest.mark.parametrize("documented", [True, False])
def test_a_deprecated_route_is_marked_with_when_it_ends_and_what_replaces_it(documented: bool) -> None:
    found = {"paths": {"/old": {"get": {"description": "A list.\n\nLong.", "responses": {}}}}} if documented else {}
    old = {"since": "2026-01-01", "sunset": "2027-01-01T08:00:00Z", "successor": "/new", "link": "https://docs.example"}
    base = {"methods": ["GET"], "service": "things", "allow": ["admin"]}
    config = Config.model_validate(
        {
            "version": 1,
            "services": {"things": {"url": "http://127.0.0.1:1"}},
            "routes": [base | {"path": "/old", "deprecated": old}, base | {"path": "/new"}],
        }
    )
    merged, _ = merging.merge(config, OWN, {"things": found})
    validate_schema(merged)
    operation = merged["paths"]["/old"]["get"]
    said = (
        "Deprecated since 2026-01-01. It is expected to end on 2027-01-01T08:00:00Z. "
        "Use `/new` instead. See <https://docs.example>."
    )
    assert operation["deprecated"] is True
    assert operation["description"] == f"{'Long.' if documented else ''}\n\n{said}\n\nFor: admin.".strip()
    assert "deprecated" not in merged["paths"]["/new"]["get"]


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
    lambda odd: {"components": {kind: {"A": odd, "a b": odd} for kind in KINDS}},
    lambda odd: {"openapi": "3.1.0", "components": {"schemas": {"A": {"items": odd, "$defs": odd, "if": odd}}}},
]


@pytest.mark.parametrize("place", range(len(PLACES)))
def test_a_malformed_part_is_left_out_and_the_other_service_is_unaffected(place: int) -> None:
    sound = {"paths": {"/two/things": {"get": {"operationId": "sound", "responses": {}}}}}
    for odd in ODD:
        merged, faults = merged_of(one=PLACES[place](odd), two=sound)
        assert merged["paths"]["/two/things"]["get"]["operationId"] == "sound", odd
        assert "get" in merged["paths"]["/one/things"], odd
        assert set(faults) <= {"one"}, odd
        assert set(merged["info"].get("x-incomplete", {})) == set(faults), odd


def test_an_operation_inherits_the_parameters_of_its_path_and_may_replace_them() -> None:
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


def test_a_component_that_refers_to_a_renamed_one_is_renamed_too() -> None:
    page = {"properties": {"results": {"items": {"$ref": "#/components/schemas/Thing"}}}}
    to_page = {"$ref": "#/components/schemas/Page"}
    merged, _ = merged_of(
        one=listing("/one/things", {"Thing": {"type": "object"}, "Page": page}, to_page),
        two=listing("/two/things", {"Thing": {"type": "string"}, "Page": page}, to_page),
    )
    schemas = merged["components"]["schemas"]
    assert set(schemas) == {"Thing", "Page", "TwoThing", "TwoPage", "Problem"}
    assert schemas["Page"]["properties"]["results"]["items"] == {"$ref": "#/components/schemas/Thing"}
    assert schemas["TwoPage"]["properties"]["results"]["items"] == {"$ref": "#/components/schemas/TwoThing"}
    assert schema_at(merged, "/two/things") == {"$ref": "#/components/schemas/TwoPage"}
    assert [merged["paths"][f"/{name}/things"]["get"]["operationId"] for name in ("one", "two")] == ["list", "two_list"]


def test_siblings_of_a_reference_are_kept_and_data_is_not_rewritten() -> None:
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


def test_a_discriminator_names_the_renamed_schemas() -> None:
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


@pytest.mark.parametrize(
    ("schema", "converted"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"enum": ["a"], "type": "string", "nullable": True}, {"enum": ["a", None], "type": ["string", "null"]}),
        (
            {"allOf": [{"type": "string"}], "nullable": True, "title": "T"},
            {"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}], "title": "T"},
        ),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        (
            {"properties": {"nullable": {"nullable": True, "type": "integer"}}},
            {"properties": {"nullable": {"type": ["integer", "null"]}}},
        ),
        ({"example": {"nullable": True, "type": "a"}}, {"example": {"nullable": True, "type": "a"}}),
    ],
)
def test_a_document_of_openapi_3_0_becomes_3_1(schema: dict[str, Any], converted: dict[str, Any]) -> None:
    merged, faults = merged_of(one=listing("/one/things", {"Thing": schema}, {}) | {"openapi": "3.0.3"})
    assert not faults
    assert merged["openapi"] == "3.1.1"
    assert merged["components"]["schemas"]["Thing"] == converted


def test_a_malformed_schema_allows_anything_and_what_refers_to_it_stays() -> None:
    reference = {"$ref": "#/components/schemas/Thing"}
    merged, faults = merged_of(one=listing("/one/things", {"Thing": {"type": "text"}}, reference))
    assert merged["components"]["schemas"]["Thing"] == {}
    assert schema_at(merged, "/one/things") == reference
    assert faults["one"].startswith("components.schemas.Thing.type: ")


def test_a_malformed_operation_is_listed_as_undocumented() -> None:
    written = {"paths": {"/one/things": {"get": {"operationId": "list", "parameters": [{"in": "query"}]}}}}
    merged, faults = merged_of(one=written)
    assert "operationId" not in merged["paths"]["/one/things"]["get"]
    assert faults["one"].startswith("paths./one/things.get.parameters[0]: ")


def test_a_document_of_openapi_3_1_stays_as_it_is() -> None:
    schema = {"type": ["string", "null"], "exclusiveMinimum": 0, "examples": ["a"], "const": "b", "$defs": {"x": True}}
    written = listing("/one/things", {"Thing": schema}, {"$ref": "#/components/schemas/Thing"}) | {"openapi": "3.1.0"}
    merged, faults = merged_of(one=written)
    assert not faults
    assert merged["openapi"] == "3.1.1"
    assert merged["components"]["schemas"]["Thing"] == schema


def test_addresses_inside_the_network_are_not_published() -> None:
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


SCHEMA_KEYS = [
    "title", "description", "format", "pattern", "maximum", "exclusiveMinimum", "nullable", "maxLength", "default",
    "example", "allOf", "not", "items", "multipleOf", "type", "enum", "required", "properties",
    "additionalProperties", "discriminator",
]  # fmt: skip


some_schema = st.fixed_dictionaries({}, optional=dict.fromkeys(SCHEMA_KEYS, documents_of_any_kind) | {"$ref": words})


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
            optional={kind: st.dictionaries(st.sampled_from("AB"), documents_of_any_kind) for kind in KINDS}
            | {"schemas": st.dictionaries(st.sampled_from("AB"), some_schema)},
        ),
    },
)


@hypothesis_settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(words, documents_of_any_kind, max_size=5) | some_document, some_document)
def test_any_documents_of_services_give_a_valid_merged_document(one: dict[str, Any], two: dict[str, Any]) -> None:
    merged, faults = merged_of(one=one, two=two, three={})
    assert set(merged["paths"]) == {route.path for route in config_of("one", "two", "three").routes}
    assert "three" not in faults


@pytest.mark.parametrize(
    ("described", "summary"),
    [
        ({"description": "List the things.\n\nNewest first."}, "List the things"),
        ({"description": "List them.", "summary": "Things"}, "Things"),
        ({"description": "x" * 121}, None),
        ({}, None),
    ],
)
def test_an_operation_without_a_summary_has_the_first_line_of_its_description(
    described: dict[str, Any], summary: str | None
) -> None:
    operation = described | {"responses": {"200": {"description": ""}}}
    merged, _ = merged_of(one={"openapi": "3.0.3", "paths": {"/one/things": {"get": operation}}})
    assert merged["paths"]["/one/things"]["get"].get("summary") == summary


def test_the_gateway_s_own_operations_have_a_summary() -> None:
    paths = own_document()["paths"].values()
    assert all(operation.get("summary") for operations in paths for operation in operations.values())
