"""OpenAPI schemas as the forms read them: references followed, alternatives of one kind merged. No I/O."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Schema = dict[str, Any]
MAX_DEPTH: Final = 8
MULTIPART: Final = "multipart/form-data"
FORM: Final = "application/x-www-form-urlencoded"
_EXAMPLES: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "name@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def resolved(schema: Any, document: Mapping[str, Any], depth: int = 0) -> Schema:  # noqa: ANN401  # JSON
    """Return the schema without references, `allOf` and `null`: what may be null has `nullable`."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return {}
    found: Schema = {name: value for name, value in schema.items() if name not in {"$ref", "allOf", "anyOf", "oneOf"}}
    parts = [*_list(schema, "allOf"), *([_referred(schema["$ref"], document)] if "$ref" in schema else [])]
    for part in parts:
        found = _merged(resolved(part, document, depth + 1), found)
    alternatives = [resolved(each, document, depth + 1) for each in _list(schema, "anyOf") or _list(schema, "oneOf")]
    others = [each for each in alternatives if not _is_null(each) and each.get("maxLength") != 0]
    if any(map(_is_null, alternatives)):
        found["nullable"] = True
    if len(others) == 1:
        found = _merged(others[0], found)
    elif others and all("enum" in each for each in others):
        found = _merged({**others[0], "enum": [value for each in others for value in each["enum"]]}, found)
    return _without_null(found)


def _list(schema: Schema, name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []


def _referred(reference: Any, document: Mapping[str, Any]) -> Any:  # noqa: ANN401  # JSON
    value: Any = document
    for name in str(reference).removeprefix("#/").split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _merged(below: Schema, above: Schema) -> Schema:
    found = below | above
    if "properties" in below and "properties" in above:
        found["properties"] = below["properties"] | above["properties"]
    if "required" in below and "required" in above:
        found["required"] = [*below["required"], *above["required"]]
    return found


def _is_null(schema: Schema) -> bool:
    return schema.get("type") == "null" or schema.get("enum") == []


def _without_null(schema: Schema) -> Schema:
    kind, values = schema.get("type"), schema.get("enum")
    if isinstance(kind, list):
        others = [each for each in kind if each != "null"]
        schema = schema | {"type": others[0] if len(others) == 1 else None}
        if len(others) < len(kind):
            schema["nullable"] = True
    if isinstance(values, list) and None in values:
        schema = schema | {"enum": [each for each in values if each is not None], "nullable": True}
    return schema


class RequestBody(NamedTuple):
    """What an operation takes, in the media type that a page sends: with files `multipart/form-data`, else JSON."""

    media: str
    schema: Schema
    example: Any

    @property
    def is_json(self) -> bool:
        return "json" in self.media


def request_body(operation: Mapping[str, Any], document: Mapping[str, Any]) -> RequestBody | None:
    """Return the operation's body, `None` if it takes none that a page can send."""
    body = operation.get("requestBody")
    if isinstance(body, dict) and "$ref" in body:
        body = _referred(body["$ref"], document)
    contents = {name: each for name, each in (body or {}).get("content", {}).items() if isinstance(each, dict)}
    schemas = {name: resolved(each.get("schema", {}), document) for name, each in contents.items()}
    choice = [MULTIPART] if _has_file(schemas.get(MULTIPART, {}), document) else []
    choice += [*(name for name in contents if "json" in name), MULTIPART, FORM]
    media = next((name for name in choice if name in contents), None)
    if media is None:
        return None
    return RequestBody(media, schemas[media], _example_of(contents[media], schemas[media], document))


def is_file(schema: Schema, document: Mapping[str, Any]) -> bool:
    """Return whether a field is a file, or a list of files: `format: binary`, or in 3.1 content without encoding."""
    one = resolved(schema.get("items", {}), document) if schema.get("type") == "array" else schema
    is_content = "contentMediaType" in one and "contentEncoding" not in one
    return one.get("type") == "string" and (one.get("format") == "binary" or is_content)


def _has_file(schema: Schema, document: Mapping[str, Any]) -> bool:
    return any(is_file(resolved(each, document), document) for each in schema.get("properties", {}).values())


def _example_of(content: Mapping[str, Any], schema: Schema, document: Mapping[str, Any]) -> Any:  # noqa: ANN401  # JSON
    if "example" in content:
        return content["example"]
    for each in content.get("examples", {}).values():
        if isinstance(each, dict) and "value" in each:
            return each["value"]
    return example(schema, document)


def example(schema: Schema, document: Mapping[str, Any], name: str = "text", depth: int = 0) -> Any:  # noqa: ANN401  # JSON
    """Return a value of the schema: its own example, its default, or one made up for its type."""
    schema = resolved(schema, document)
    own = [*(schema[key] for key in ("example", "default") if key in schema), *_list(schema, "enum")]
    if own or _list(schema, "examples"):
        return [*_list(schema, "examples")[:1], *own][0]
    kind = schema.get("type")
    if kind == "array":
        return [example(schema.get("items", {}), document, name, depth + 1)] if depth < MAX_DEPTH else []
    if kind == "object" or "properties" in schema:
        return _example_object(schema, document, depth)
    if kind in {"integer", "number"}:
        return schema.get("minimum", 1)
    return True if kind == "boolean" else _EXAMPLES.get(str(schema.get("format")), name.replace("_", " "))


def _example_object(schema: Schema, document: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth >= MAX_DEPTH:
        return {}
    properties = {key: resolved(each, document) for key, each in schema.get("properties", {}).items()}
    return {
        key: example(each, document, key, depth + 1) for key, each in properties.items() if not each.get("readOnly")
    }
