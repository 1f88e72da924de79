"""A line of the record: one user, deletion or entry of a history, in Django's own JSONL serialization."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.timezone import is_naive

from .models import TOLD, Deletion, User, UserChange

Entry = User | Deletion | UserChange
MODELS: dict[object, type[Entry]] = {
    "users.user": User,
    "users.deletion": Deletion,
    "users.userchange": UserChange,
}
# Of ids and every other number. Above it those of many a reader of JSON are not exact (RFC 7493, section 2.2);
# SQLite and PostgreSQL can store far larger ones.
LARGEST = 2**53 - 1
# What comes from elsewhere leaves as many again: after the largest id nobody can be made, nor a session be ended.
IMPORTABLE = LARGEST // 2
# Times between these are times in every offset from UTC, and have others before and after them.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9998, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
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
        data = json.loads(line, object_pairs_hook=each_once)
    except BadLineError:
        raise
    except (ValueError, RecursionError) as exc:
        raise BadLineError(why_no_json(exc)) from exc
    if not isinstance(data, dict) or set(data) != {"model", "pk", "fields"} or not isinstance(data["fields"], dict):
        raise BadLineError('expected an object of "model", "pk" and "fields"')
    model = MODELS.get(data["model"]) if isinstance(data["model"], str) else None
    if model is None:
        raise BadLineError('expected "users.user", "users.deletion" or "users.userchange" as "model"')
    if type(data["pk"]) is not int or not 0 < data["pk"] <= LARGEST:
        raise BadLineError(f'expected a whole number from 1 to {LARGEST} as "pk"')
    return model(pk=data["pk"], **values(model, data["fields"]))


def each_once(members: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object of those members; raise `BadLineError` where one stands twice, and the last would hold."""
    found = dict(members)
    if len(found) != len(members):
        again = Counter(name for name, _ in members).most_common(1)[0][0]
        raise BadLineError(f"expected each name once in its object, got {json.dumps(again)[:60]} again")
    return found


def why_no_json(error: ValueError | RecursionError) -> str:
    """Return what the error of `json.loads` means, without the text that it is about."""
    if isinstance(error, RecursionError):
        return "expected JSON that is nested less deeply"
    if isinstance(error, UnicodeDecodeError):
        return "expected JSON in UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"expected JSON: {error.msg.removesuffix(' at')}, at character {error.pos + 1}"
    return "expected JSON of shorter numbers"


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
    if isinstance(field, models.DateTimeField):
        check_time(field.name, cleaned)
    if isinstance(field, models.JSONField):
        check_told(field.name, cleaned)
    return cleaned


def check_time(name: str, time: datetime) -> None:
    """Raise `BadLineError` for a time that cannot be told in UTC, or is none of a user's."""
    if is_naive(time):
        raise BadLineError(f"{name}: expected a time with its offset from UTC")
    if not EARLIEST <= time <= LATEST:
        raise BadLineError(f"{name}: expected a time of the years 1970 to 9998")


def check_told(name: str, values: dict[str, Any]) -> None:
    """Raise `BadLineError` for what is no change of a user's fields."""
    for field, told in values.items():
        if field == "password":
            right = told == []
        else:
            kind = bool if field == "is_active" else str
            right = field in TOLD and type(told) is list and [type(each) for each in told] == [kind, kind]
        if not right:
            raise BadLineError(f"{name}: expected old and new values of {', '.join(TOLD)}, and of the password []")
