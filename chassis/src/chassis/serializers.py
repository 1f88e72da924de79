"""A serializer that converts no type: `"5"` is not a number, `5` is not a string, an unknown field is an error."""

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

# An error names so many unknown fields, and so much of a name. A body of 1 MiB can hold 200,000 fields.
MAX_NAMED = 10
MAX_NAME = 50

_Field = serializers.Field[Any, Any, Any, Any]
_JSON_TYPES: tuple[tuple[type[_Field], type, str], ...] = (
    (serializers.CharField, str, "a string"),
    (serializers.BooleanField, bool, "true or false"),
    (serializers.IntegerField, int, "a whole number"),
    (serializers.ChoiceField, str, "a string"),
)
_TYPE_NAMES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class StrictSerializer(serializers.Serializer[Any]):
    default_error_messages = {"null": "Expected an object."}

    def to_internal_value(self, data: Any) -> Any:  # noqa: ANN401  # any JSON value
        if not isinstance(data, dict):
            return super().to_internal_value(data)
        fields = self.fields
        expected = ", ".join(name for name, field in fields.items() if not field.read_only)
        unknown = [printable_name(name) for name in data if name not in fields][:MAX_NAMED]
        errors = {name: [f"Unknown field. Expected one of: {expected}."] for name in unknown} | {
            name: [message]
            for name, value in data.items()
            if name in fields and (message := _wrong_type(fields[name], value))
        }
        if errors:
            raise ValidationError(errors)
        return super().to_internal_value(data)


def printable_name(name: str) -> str:
    """Return the name as an error may repeat it: short, and free of characters that cannot be encoded or seen."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name[:MAX_NAME]
    )


def _wrong_type(field: "serializers.Field[Any, Any, Any, Any]", value: object) -> str | None:
    if field.read_only or value is None:
        return None
    for kind, json_type, name in _JSON_TYPES:
        if isinstance(field, kind):
            fits = isinstance(value, json_type) and not (json_type is int and isinstance(value, bool))
            if json_type is int and isinstance(value, float):
                fits = value.is_integer()  # to JSON Schema, 5.0 is the integer 5
            return None if fits else f"Expected {name}, got {_TYPE_NAMES[type(value)]}."
    return None
