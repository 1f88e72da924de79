"""OpenAPI's objects, as far as /docs shows them: what is malformed in a service's document is left out and named.

What comes out of here has the structure that OpenAPI 3.0 and 3.1 ask for, whatever JSON went in. Links, callbacks and
servers are left out on purpose: they name what only the services can reach.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = Any
Document = dict[str, Any]
# How a kind of value is read: it returns the value without what is malformed in it, or raises `Malformed`.
Kind = Callable[[Json, str, "Reading"], Json]

COMPONENT = re.compile(r"#/components/([A-Za-z]+)/([A-Za-z0-9._-]+)(/.*)?")
NAME = re.compile(r"[A-Za-z0-9._-]+")
STATUS = re.compile(r"[1-5](?:[0-9]{2}|XX)|default")
TYPES: Final = frozenset({"array", "boolean", "integer", "number", "object", "string"})
STYLES: Final = {
    "path": ("matrix", "label", "simple"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}


class Malformed(Exception):  # noqa: N818  # an outcome: the value is left out
    """The value is not what OpenAPI has there."""


@dataclass
class Reading:
    """One reading of a service's document: its valid references with their new names, and its faults."""

    is_3_1: bool
    # By kind and name, as the service has them; what each is called in the merged document.
    components: Mapping[tuple[str, str], str]
    faults: list[str] = field(default_factory=list)
    references: set[tuple[str, str]] = field(default_factory=set)

    def reference(self, value: Json, at: str) -> str:
        """Return a reference to a component, under its name in the merged document."""
        found = COMPONENT.fullmatch(value) if isinstance(value, str) else None
        if found is None or (found[1], found[2]) not in self.components:
            raise Malformed(f"{at}: expected a reference to a component of this document")
        self.references.add((found[1], found[2]))
        return f"#/components/{found[1]}/{self.components[found[1], found[2]]}{found[3] or ''}"


def of_type(*types: type, called: str) -> Kind:
    """Return the kind of plain values. In Python, unlike in JSON, `True` is a number."""

    def read(value: Json, at: str, reading: Reading) -> Json:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise Malformed(f"{at}: expected {called}")
        return value

    return read


def anything(value: Json, at: str, reading: Reading) -> Json:
    return value


text = of_type(str, called="a string")
flag = of_type(bool, called="true or false")
number = of_type(int, float, called="a number")
an_object = of_type(dict, called="an object")
a_list = of_type(list, called="a list")


def one_of(*values: str) -> Kind:
    """Return the kind of one of these words."""

    def read(value: Json, at: str, reading: Reading) -> Json:
        if value not in values:
            raise Malformed(f"{at}: expected one of {', '.join(values)}")
        return value

    return read


def size(value: Json, at: str, reading: Reading) -> Json:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(f"{at}: expected a whole number of at least 0")
    return value


def positive(value: Json, at: str, reading: Reading) -> Json:
    if number(value, at, reading) <= 0:
        raise Malformed(f"{at}: expected a number above 0")
    return value


def list_of(kind: Kind, *, is_filled: bool = False) -> Kind:
    """Return the kind of lists; malformed entries are left out."""

    def read(value: Json, at: str, reading: Reading) -> Json:
        entries = []
        for index, each in enumerate(a_list(value, at, reading)):
            try:
                entries.append(kind(each, f"{at}[{index}]", reading))
            except Malformed as malformed:
                reading.faults.append(str(malformed))
        if is_filled and not entries:
            raise Malformed(f"{at}: expected a list that is not empty")
        return entries

    return read


def map_of(kind: Kind, names: re.Pattern[str] | None = None) -> Kind:
    """Return the kind of objects with any names, or names of a pattern; malformed entries are left out."""

    def read(value: Json, at: str, reading: Reading) -> Json:
        entries = {}
        for name, each in an_object(value, at, reading).items():
            if names is not None and not names.fullmatch(name):
                reading.faults.append(f"{at}.{name}: expected another name")
                continue
            try:
                entries[name] = kind(each, f"{at}.{name}", reading)
            except Malformed as malformed:
                reading.faults.append(str(malformed))
        return entries

    return read


def object_of(fields: Mapping[str, Kind], *, required: tuple[str, ...] = ()) -> Kind:
    """Return the kind of objects with these fields and `x-…`; malformed and unknown ones are left out."""

    def read(value: Json, at: str, reading: Reading) -> Json:
        entries = {}
        for name, each in an_object(value, at, reading).items():
            if name not in fields and not name.startswith("x-"):
                continue
            try:
                entries[name] = fields.get(name, anything)(each, f"{at}.{name}", reading)
            except Malformed as malformed:
                reading.faults.append(str(malformed))
        for name in required:
            if name not in entries:
                raise Malformed(f"{at}: expected `{name}`")
        return entries

    return read


def or_reference(kind: Kind) -> Kind:
    """Return the kind of what may be a reference, beside which nothing counts (OpenAPI 3.0.3, Reference Object)."""

    def read(value: Json, at: str, reading: Reading) -> Json:
        if isinstance(value, dict) and "$ref" in value:
            return {"$ref": reading.reference(value["$ref"], at)}
        return kind(value, at, reading)

    return read


def schema(value: Json, at: str, reading: Reading) -> Json:
    """Read a schema. Of a reference that leads nowhere nothing is known but that anything may stand there.

    The keys beside a reference count in 3.1; in 3.0 most tools show them, so they stay there too.
    """
    if reading.is_3_1 and isinstance(value, bool):
        return value
    entries: Document = {}
    if "$ref" in an_object(value, at, reading):
        try:
            entries["$ref"] = reading.reference(value["$ref"], at)
        except Malformed as malformed:
            reading.faults.append(str(malformed))
    others = {name: each for name, each in value.items() if name != "$ref"}
    if not reading.is_3_1:
        return entries | object_of(SCHEMA)(others, at, reading)
    checked = object_of(SCHEMA_3_1)(others, at, reading)
    return entries | {name: each for name, each in others.items() if name not in SCHEMA_3_1} | checked


def additional(value: Json, at: str, reading: Reading) -> Json:
    """Read `additionalProperties`."""
    return value if isinstance(value, bool) else schema(value, at, reading)


def mapping(value: Json, at: str, reading: Reading) -> Json:
    """Read a discriminator's mapping: values are references or names of schemas."""
    entries = {}
    for name, each in map_of(text)(value, at, reading).items():
        by_name = reading.components.get(("schemas", each))
        try:
            entries[name] = by_name or (reading.reference(each, at) if "/" in each else each)
        except Malformed as malformed:
            reading.faults.append(str(malformed))
    return entries


SCHEMA: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("title", "description", "format", "pattern"), text),
    **dict.fromkeys(("maximum", "minimum"), number),
    **dict.fromkeys(
        (
            "exclusiveMaximum",
            "exclusiveMinimum",
            "uniqueItems",
            "nullable",
            "readOnly",
            "writeOnly",
            "deprecated",
        ),
        flag,
    ),
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), size),
    **dict.fromkeys(("default", "example"), anything),
    **dict.fromkeys(("allOf", "oneOf", "anyOf"), list_of(schema)),
    **dict.fromkeys(("not", "items"), schema),
    "multipleOf": positive,
    "type": one_of(*sorted(TYPES)),
    "enum": list_of(anything, is_filled=True),
    "required": lambda value, at, reading: list(dict.fromkeys(list_of(text, is_filled=True)(value, at, reading))),
    "properties": map_of(schema),
    "additionalProperties": additional,
    "discriminator": object_of({"propertyName": text, "mapping": mapping}, required=("propertyName",)),
}
# Of JSON Schema 2020-12 what holds schemas, or references to them; the rest stays as it is.
SCHEMA_3_1: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("properties", "patternProperties", "$defs", "dependentSchemas"), map_of(schema)),
    **dict.fromkeys(("allOf", "oneOf", "anyOf", "prefixItems"), list_of(schema)),
    **dict.fromkeys(
        (
            "items",
            "not",
            "if",
            "then",
            "else",
            "contains",
            "propertyNames",
            "additionalProperties",
            "unevaluatedItems",
            "unevaluatedProperties",
        ),
        schema,
    ),
    "discriminator": SCHEMA["discriminator"],
}

example = object_of({"summary": text, "description": text, "value": anything})
encoding = object_of({"contentType": text})


def with_examples(kind: Kind) -> Kind:
    """Return the kind of a value with one or several examples."""

    def read(value: Json, at: str, reading: Reading) -> Json:
        entries = kind(value, at, reading)
        if "example" in entries:
            entries.pop("examples", None)
        return entries

    return read


media = with_examples(
    object_of(
        {
            "schema": schema,
            "example": anything,
            "examples": map_of(or_reference(example)),
            "encoding": map_of(encoding),
        }
    )
)
content = map_of(media)
VALUE: Final[Mapping[str, Kind]] = {
    "description": text,
    "required": flag,
    "deprecated": flag,
    "schema": schema,
    "content": content,
    "example": anything,
    "examples": map_of(or_reference(example)),
    "explode": flag,
}


def valued(entries: Document) -> Document:
    """Return a parameter or header with one description of its value."""
    if "schema" in entries or len(entries.get("content", {})) != 1:
        return {"schema": {}} | {name: each for name, each in entries.items() if name != "content"}
    beside = {"example", "examples", "style", "explode"}
    return {name: each for name, each in entries.items() if name not in beside}


def header(value: Json, at: str, reading: Reading) -> Json:
    return valued(with_examples(object_of(VALUE))(value, at, reading))


def parameter(value: Json, at: str, reading: Reading) -> Json:
    place = an_object(value, at, reading).get("in")
    if not isinstance(place, str) or place not in STYLES:
        raise Malformed(f"{at}: expected `in`, one of {', '.join(STYLES)}")
    fields = {**VALUE, "name": text, "in": text, "style": one_of(*STYLES[place])}
    entries = with_examples(object_of(fields, required=("name",)))(value, at, reading)
    return valued(entries | ({"required": True} if place == "path" else {}))


response = object_of(
    {"description": text, "headers": map_of(or_reference(header)), "content": content},
)
request_body = object_of({"description": text, "required": flag, "content": content}, required=("content",))


def described(value: Json, at: str, reading: Reading) -> Json:
    """Read a response. Its description is required, and often missing."""
    return {"description": ""} | response(value, at, reading)


OPERATION: Final[Mapping[str, Kind]] = {
    "tags": list_of(text),
    "summary": text,
    "description": text,
    "operationId": text,
    "deprecated": flag,
    "parameters": list_of(or_reference(parameter)),
    "requestBody": or_reference(request_body),
    "responses": map_of(or_reference(described), STATUS),
}
operation = object_of(OPERATION)
COMPONENTS: Final[Mapping[str, Kind]] = {
    "schemas": schema,
    "responses": or_reference(described),
    "parameters": or_reference(parameter),
    "examples": or_reference(example),
    "requestBodies": or_reference(request_body),
    "headers": or_reference(header),
}
