"""What a request may say: JSON read strictly, no field that nobody defined, no value of another type.

This file is the same in each project.
"""

import unicodedata
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

# Of a body's unknown fields: how many are named, and how much of a name. A body of 1 MiB can hold 200,000.
MAX_NAMED = 10
MAX_NAME = 50

JSON_TYPES: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], type, str], ...] = (
    (serializers.CharField, str, "a string"),
    (serializers.BooleanField, bool, "true or false"),
    (serializers.IntegerField, int, "a whole number"),
    (serializers.ChoiceField, str, "a string"),
)


class StrictJSONParser(JSONParser):
    """DRF's parser, which would answer 500 to JSON nested deeper than Python's stack."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ANN401  # DRF's signature
        """Return the parsed JSON, or raise `ParseError` (400)."""
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError as exc:
            raise ParseError("JSON parse error - expected less nesting") from exc


def printable(value: str) -> None:
    """Refuse control and format characters: they forge log lines and make two names look the same."""
    for character in value:
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            raise serializers.ValidationError(
                f"Expected printable characters only, got U+{ord(character):04X}.", code="not_printable"
            )


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that converts nothing in silence: `"5"` is no number, `5` no string, an unknown field an error."""

    def to_internal_value(self, data: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
        """Return the validated values, or raise `ValidationError` that names every field at fault."""
        if not isinstance(data, dict):
            return super().to_internal_value(data)
        fields = self.fields
        expected = ", ".join(name for name, field in fields.items() if not field.read_only)
        unknown = [presentable(name) for name in data if name not in fields][:MAX_NAMED]
        errors = {name: [f"Unknown field. Expected one of: {expected}."] for name in unknown} | {
            name: [message]
            for name, value in data.items()
            if name in fields and (message := wrong_type(fields[name], value))
        }
        if errors:
            raise serializers.ValidationError(errors)
        return super().to_internal_value(data)


def presentable(name: str) -> str:
    """Return the name as an answer may repeat it: short, and of characters that can be encoded and seen."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name[:MAX_NAME]
    )


def wrong_type(field: "serializers.Field[Any, Any, Any, Any]", value: object) -> str | None:
    """Return what was expected where the JSON value is not of the field's type."""
    if field.read_only or value is None:
        return None
    for kind, json_type, name in JSON_TYPES:
        if isinstance(field, kind):
            fits = isinstance(value, json_type) and not (json_type is int and isinstance(value, bool))
            return None if fits else f"Expected {name}, got {type_name(value)}."
    return None


def type_name(value: object) -> str:
    """Return what JSON calls the value's type (RFC 8259, section 3)."""
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names[type(value)]
