"""A line of the record: one user, deletion or entry of a history, in Django's own JSONL serialization."""

import json
from typing import Any

from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.timezone import is_naive

from .models import Deletion, User, UserChange

Entry = User | Deletion | UserChange
MODELS: dict[object, type[Entry]] = {
    "users.user": User,
    "users.deletion": Deletion,
    "users.userchange": UserChange,
}
# Of ids and every other number. Above it JavaScript's are not exact; SQLite and PostgreSQL can store far larger ones.
LARGEST = 2**53 - 1
JSON_TYPES: "tuple[tuple[type[models.Field[Any, Any]], type, str], ...]" = (
    (models.BooleanField, bool, "true or false"),
    (models.IntegerField, int, "a whole number"),
    (models.CharField, str, "a string"),
    (models.DateTimeField, str, "a time in ISO 8601"),
    (models.JSONField, dict, "an object"),
)


class BadLineError(ValueError):
    """A line that is no entry; says why, without the values, one of which is a password's hash."""


def dump(entry: Entry) -> bytes:
    """Return the entry as a line, with its newline; raise `BadLineError` for a number that `parse` would not take."""
    if entry.pk > LARGEST:
        raise BadLineError(f"expected a number up to {LARGEST}, got {entry.pk}")
    text: str = serializers.serialize("jsonl", [entry])
    return text.encode()


def parse(line: bytes) -> Entry:
    """Return what the line says; raise `BadLineError`."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise BadLineError(f"expected JSON, got {type(exc).__name__}") from exc
    if not isinstance(data, dict) or set(data) != {"model", "pk", "fields"} or not isinstance(data["fields"], dict):
        raise BadLineError('expected an object of "model", "pk" and "fields"')
    model = MODELS.get(data["model"]) if isinstance(data["model"], str) else None
    if model is None:
        raise BadLineError('expected "users.user", "users.deletion" or "users.userchange" as "model"')
    if type(data["pk"]) is not int or not 0 < data["pk"] <= LARGEST:
        raise BadLineError(f'expected a whole number from 1 to {LARGEST} as "pk"')
    return model(pk=data["pk"], **values(model, data["fields"]))


def values(model: type[Entry], fields: dict[str, Any]) -> dict[str, Any]:
    """Return the checked values of the fields; a field that was added to the model later may be absent."""
    known = {field.name: field for field in model._meta.concrete_fields if not field.primary_key}  # noqa: SLF001  # Django's documented _meta
    if unknown := sorted(set(fields) - set(known)):
        raise BadLineError(f"unknown field {', '.join(unknown)}")
    if missing := [name for name, field in known.items() if name not in fields and not field.has_default()]:
        raise BadLineError(f"missing field {', '.join(missing)}")
    return {name: checked(known[name], value) for name, value in fields.items()}


def checked(field: "models.Field[Any, Any]", value: object) -> object:
    """Return the field's value for that JSON value; raise `BadLineError` where it cannot be."""
    for kind, json_type, expected in JSON_TYPES:
        if isinstance(field, kind) and type(value) is not json_type and not (value is None and field.null):
            raise BadLineError(f"{field.name}: expected {expected}")
    if isinstance(field, models.IntegerField) and isinstance(value, int) and value > LARGEST:
        raise BadLineError(f"{field.name}: expected a whole number up to {LARGEST}")
    try:
        cleaned = field.clean(value, None)
    except ValidationError as exc:
        raise BadLineError(f"{field.name}: {' '.join(exc.messages)}") from exc
    if isinstance(field, models.DateTimeField) and is_naive(cleaned):
        raise BadLineError(f"{field.name}: expected a time with its offset from UTC")
    return cleaned
