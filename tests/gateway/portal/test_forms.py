"""A schema becomes fields, and what is typed into them becomes the JSON that the schema means."""

from typing import Any

import pytest

from gateway.portal import forms, schemas, tables

DOCUMENT: dict[str, Any] = {
    "components": {
        "schemas": {
            "Color": {"type": "string", "enum": ["red", "blue"], "description": "* `red` - Dark red\n* `blue` - Blue"},
            "Blank": {"enum": [""]},
            "Null": {"enum": [None]},
            "Tree": {"type": "object", "properties": {"tree": {"$ref": "#/components/schemas/Tree"}}},
        }
    }
}
COLOR = {"$ref": "#/components/schemas/Color"}
TEXT = {"type": "string"}
# A property's schema; the kind of its field; a text, and the JSON it means.
KINDS: dict[str, tuple[dict[str, Any], str, str, Any]] = {
    "text": (TEXT, "text", "a", "a"),
    "long text": ({"type": "string", "maxLength": 5000}, "long", "a\r\nb", "a\nb"),
    "whole number": ({"type": "integer"}, "number", "12345678901234567890", 12345678901234567890),
    "number": ({"type": "number"}, "number", "1.5", 1.5),
    "text instead of a number": ({"type": "integer"}, "number", "one", "one"),
    "infinite number": ({"type": "number"}, "number", "Infinity", "Infinity"),
    "yes or no": ({"type": "boolean"}, "choice", "false", False),
    "choice": (COLOR, "choice", "blue", "blue"),
    "choice of numbers": ({"type": "integer", "enum": [1, 2]}, "choice", "2", 2),
    "choice, or nothing (drf-spectacular)": (
        {"oneOf": [COLOR, {"$ref": "#/components/schemas/Blank"}, {"$ref": "#/components/schemas/Null"}]},
        "choice", "red", "red",
    ),
    "choice with a help text": ({"allOf": [COLOR], "description": "Its color."}, "choice", "red", "red"),
    "text or null (FastAPI)": ({"anyOf": [TEXT, {"type": "null"}]}, "text", "a", "a"),
    "text or null (3.1)": ({"type": ["string", "null"]}, "text", "a", "a"),
    "list of texts": ({"type": "array", "items": TEXT}, "lines", "a\r\nb", ["a", "b"]),
    "list of numbers": ({"type": "array", "items": {"type": "integer"}}, "lines", "1\n2", [1, 2]),
    "list of objects": ({"type": "array", "items": {"type": "object"}}, "json", '[{"a": 1}]', [{"a": 1}]),
    "malformed JSON": ({"type": "object"}, "json", "{", "{"),
    "of any type": ({}, "json", "[1]", [1]),
    "text or number": ({"oneOf": [TEXT, {"type": "integer"}]}, "json", "1", 1),
    "reference to nothing": ({"$ref": "#/components/schemas/No"}, "json", "1", 1),
}  # fmt: skip


def fields(properties: dict[str, Any], **options: Any) -> list[forms.Field]:
    required = options.pop("required", [])
    return forms.fields_of({"properties": properties, "required": required}, DOCUMENT, **options)


@pytest.mark.parametrize("case", KINDS)
def test_a_field_has_the_kind_of_its_schema_and_its_text_becomes_json(case: str) -> None:
    schema, kind, text, value = KINDS[case]
    (one,) = found = fields({"a": schema})
    assert one.kind == kind
    assert forms.body_of(found, {"/a": [text]}, is_partial=False) == {"a": value}


def test_several_choices_are_a_list() -> None:
    (one,) = found = fields({"a": {"type": "array", "items": COLOR}}, data={"a": ["blue"]})
    assert (one.kind, one.chosen, one.choices) == ("choices", ["blue"], [("red", "Dark red"), ("blue", "Blue")])
    assert forms.body_of(found, {"/a": ["red", "blue"]}, is_partial=False) == {"a": ["red", "blue"]}
    assert forms.body_of(found, {"was:/a": ["blue"]}, is_partial=True) == {"a": []}


def test_an_object_in_an_object_is_a_group_to_a_depth() -> None:
    (one,) = found = fields({"tree": {"$ref": "#/components/schemas/Tree"}})
    for _ in range(forms.MAX_GROUPS):
        assert one.kind == "group"
        (one,) = one.fields
    assert one.kind == "json"
    deep = "/tree" * (forms.MAX_GROUPS + 1)
    assert forms.body_of(found, {deep: ["1"]}, is_partial=False) == {"tree": {"tree": {"tree": {"tree": 1}}}}


def test_what_is_read_only_has_no_field_and_a_default_is_filled_in() -> None:
    found = fields({"id": {"type": "integer", "readOnly": True}, "n": {"type": "integer", "default": 3, "minimum": 1}})
    assert [(one.name, one.value, one.attributes["min"]) for one in found] == [("/n", "3", 1)]


def test_a_password_is_never_filled_in() -> None:
    secret = {"type": "string", "writeOnly": True}
    (one,) = fields({"password": secret}, data={"password": "x"}, typed={"/password": ["y"], "was:/password": ["z"]})
    assert (one.value, one.was, one.attributes["type"]) == ("", "", "password")


EMPTY = {"a": TEXT, "n": {"type": "integer"}, "z": TEXT | {"nullable": True}}


@pytest.mark.parametrize(
    ("required", "was", "body"),
    [
        ([], {}, {}),
        (["a", "n", "z"], {}, {"a": "", "z": ""}),
        ([], {"a": "x", "n": "1", "z": "y"}, {"a": "", "z": None}),
    ],
    ids=["left out", "required", "cleared"],
)
def test_an_empty_field(required: list[str], was: dict[str, str], body: dict[str, Any]) -> None:
    found = fields(EMPTY, required=required)
    values = {f"/{name}": [""] for name in EMPTY} | {f"was:/{name}": [text] for name, text in was.items()}
    assert forms.body_of(found, values, is_partial=False) == body


def test_a_partial_change_has_what_was_changed_alone() -> None:
    found = fields({"a": TEXT, "b": TEXT, "c": TEXT}, data={"a": "1", "b": "2"})
    assert [one.was for one in found] == ["1", "2", ""]
    values = {"/a": ["1"], "was:/a": ["1"], "/b": ["3"], "was:/b": ["2"], "/c": [""]}
    assert forms.body_of(found, values, is_partial=True) == {"b": "3"}


REJECTED = {
    "ours": {"title": "Bad Request", "detail": "…", "errors": {"a": ["Bad."], "b.c": ["Worse."], "no": ["Unknown."]}},
    "stock DRF": {"a": ["Bad."], "b": {"c": ["Worse."]}, "no": ["Unknown."]},
    "FastAPI": {
        "detail": [
            {"loc": ["body", "a"], "msg": "Bad."}, {"loc": ["body", "b", "c"], "msg": "Worse."},
            {"loc": ["body", "no"], "msg": "Unknown."},
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("case", REJECTED)
def test_each_message_is_at_its_field(case: str) -> None:
    found = fields({"a": TEXT, "b": {"type": "object", "properties": {"c": TEXT}}})
    assert forms.put_errors(found, forms.messages_of(REJECTED[case])) == ["no: Unknown."]
    assert (found[0].errors, found[1].fields[0].errors) == (["Bad."], ["Worse."])


def test_a_message_of_a_list_s_entry_is_at_the_list() -> None:
    found = fields({"a": {"type": "array", "items": TEXT}})
    assert forms.put_errors(found, {"/a/0": ["Bad."], "": ["All bad."]}) == ["All bad."]
    assert found[0].errors == ["Bad."]


@pytest.mark.parametrize("data", [None, [], "x", {"detail": "Not found."}, {"title": "x", "a": ["b"]}])
def test_a_response_without_messages_has_none(data: Any) -> None:
    assert forms.messages_of(data) == {}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (TEXT, "text"),
        (TEXT | {"format": "email"}, "name@example.com"),
        (TEXT | {"example": "x"}, "x"),
        ({"type": ["integer", "null"], "minimum": 5}, 5),
        (COLOR, "red"),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "object", "properties": {"a_b": TEXT, "id": {"readOnly": True}}}, {"a_b": "a b"}),
        ({"$ref": "#/nowhere"}, "text"),
    ],
)
def test_an_example_is_of_its_schema(schema: dict[str, Any], value: Any) -> None:
    assert schemas.example(schema, DOCUMENT) == value


def test_an_example_of_a_schema_in_itself_ends() -> None:
    assert "tree" in schemas.example({"$ref": "#/components/schemas/Tree"}, DOCUMENT)


def test_a_table_has_the_rows_of_a_page_with_numbers_as_written() -> None:
    rows = '{"n": 1.10, "t": "2026-01-31T12:00:00Z"}, {"l": "https://x.example/", "o": {}}'
    text = f'{{"next": "/x?p=2", "results": [{rows}]}}'
    table = tables.table_of(tables.parsed(text), text, is_cut=False)
    assert table is not None
    assert (table.columns, table.paging) == (["n", "t", "l", "o"], {"next": "/x?p=2"})
    kinds = [[cell.kind for cell in row] for row in table.rows]
    assert kinds == [["number", "time", "empty", "empty"], ["empty", "empty", "link", "json"]]
    assert table.rows[0][0].text == "1.10"


@pytest.mark.parametrize("start", ["[", '{"count": 3, "results": [', ' {"results" : [ '])
def test_of_a_list_that_is_cut_off_the_whole_rows_are_read(start: str) -> None:
    text = start + '{"a": 1}, {"a": [2]}, {"a": 3'
    table = tables.table_of(None, text, is_cut=True)
    assert table is not None
    assert ([row[0].text for row in table.rows], table.more) == (["1", "[2]"], True)


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": 1}', "null", "", "{no json", "[" * 100_000])
def test_what_is_no_list_of_objects_is_no_table(text: str) -> None:
    assert tables.table_of(tables.parsed(text), text, is_cut=False) is None


def test_a_long_list_shows_its_first_rows() -> None:
    text = "[" + ", ".join(['{"a": 1}'] * 1000) + "]"
    table = tables.table_of(tables.parsed(text), text, is_cut=False)
    assert table is not None
    assert (len(table.rows), table.more) == (tables.MAX_ROWS, True)


@pytest.mark.parametrize("address", ["javascript:alert(1)", "//x", "data:text/html,x", 'https://x"y'])
def test_only_addresses_of_the_web_are_links(address: str) -> None:
    assert tables.cell_of(address).href == ""
