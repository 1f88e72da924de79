"""A line of the record: one version of a user, or a user's deletion, as a flat JSON object.

{"id": 7, "username": "eva", …, "updated_by": 1, "updated_at": "2030-01-31T12:00:00.000Z", …}
{"id": 7, "deleted": true, "updated_by": 1, "updated_at": "…", "session_epoch": 3, "session_end": 12}
"""

import json
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.timezone import is_naive

from users.models import Deletion, Entry, User

_USER_FIELDS = (
    *("id", "username", "email", "full_name", "user_type", "is_active", "password"),
    *("created_by", "created_at", "updated_by", "updated_at", "password_changed_at"),
    *("session_epoch", "kept_session", "session_end"),
)
_DELETION_FIELDS = ("id", "updated_by", "updated_at", "session_epoch", "session_end")
_JSON_TYPES: "tuple[tuple[type[models.Field[Any, Any]], type, str], ...]" = (
    (models.BooleanField, bool, "true or false"),
    (models.IntegerField, int, "a whole number"),
    (models.CharField, str, "a string"),
    (models.DateTimeField, str, "a time in ISO 8601"),
)


class BadLineError(ValueError):
    """A line that is not a version of a user. The message has no values: one of them is a password hash."""


def encode(entry: Entry, *, with_password: bool = True) -> bytes:
    names = _USER_FIELDS if isinstance(entry, User) else _DELETION_FIELDS
    data: dict[str, Any] = {name: plain(getattr(entry, name)) for name in names}
    if isinstance(entry, Deletion):
        data["deleted"] = True
    elif not with_password:
        data["password"] = ""
    if isinstance(entry, User) and entry.is_rehash:
        data["rehash"] = True
    return json.dumps(data, ensure_ascii=False).encode() + b"\n"


def decode(line: bytes, *, with_password: bool = True) -> Entry:
    try:
        data = json.loads(line, object_pairs_hook=unique)
    except BadLineError:
        raise
    except (ValueError, RecursionError) as exc:
        raise BadLineError(f"expected a JSON object in UTF-8: {_reason(exc)}") from exc
    if not isinstance(data, dict):
        raise BadLineError("expected a JSON object")
    is_deletion, is_rehash = data.pop("deleted", False), data.pop("rehash", False)
    if type(is_deletion) is not bool or type(is_rehash) is not bool:
        raise BadLineError("deleted, rehash: expected true or false")
    if not with_password and not is_deletion:
        data["password"] = "!"
    entry: Entry = Deletion(**_values(Deletion, data)) if is_deletion else User(**_values(User, data))
    if isinstance(entry, User):
        entry.is_rehash = is_rehash
    return entry


def in_milliseconds(time: datetime) -> datetime:
    """Return the time with the precision of the record."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def plain(value: object) -> object:
    """Return a field's value as JSON has it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def unique(members: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object of these members; raise `BadLineError` for a name that occurs twice."""
    found = dict(members)
    if len(found) != len(members):
        name = Counter(name for name, _ in members).most_common(1)[0][0]
        raise BadLineError(f"expected each name once, got {json.dumps(name)[:60]} again")
    return found


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')}, at character {error.pos + 1}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "it cannot be decoded"


def _values(model: type[Entry], data: dict[str, object]) -> dict[str, Any]:
    """Return the checked values; a field that has a default may be absent."""
    known = _fields(model)
    if unknown := sorted(set(data) - set(known)):
        raise BadLineError(f"unknown field {', '.join(unknown)[:200]}")
    if missing := [name for name, (field, *_) in known.items() if name not in data and not field.has_default()]:
        raise BadLineError(f"missing field {', '.join(missing)}")
    return {name: _checked(*known[name], value) for name, value in data.items()}


@cache
def _fields(model: type[Entry]) -> "dict[str, tuple[models.Field[Any, Any], type, str]]":
    """Return the model's fields by name, each with what its value is in JSON."""
    return {
        field.name: (field, json_type, expected)
        for field in model._meta.concrete_fields  # noqa: SLF001  # Django's documented _meta
        for kind, json_type, expected in _JSON_TYPES
        if isinstance(field, kind)
    }


def _checked(field: "models.Field[Any, Any]", json_type: type, expected: str, value: object) -> object:
    """Return the value of a field. What its type decides is not left to the field's validators, which take longer."""
    if value is None and field.null:
        return None
    if type(value) is not json_type:
        raise BadLineError(f"{field.name}: expected {expected}")
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        least = 1 if field.primary_key else 0
        if not least <= value <= models.BigIntegerField.MAX_BIGINT:
            raise BadLineError(f"{field.name}: expected a whole number from {least} on")
        return value
    try:
        return _time(str(value)) if isinstance(field, models.DateTimeField) else field.clean(value, None)
    except ValidationError as exc:
        raise BadLineError(f"{field.name}: {' '.join(exc.messages)}") from exc
    except ValueError as exc:
        raise BadLineError(f"{field.name}: expected a time in ISO 8601 with its offset from UTC") from exc


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if is_naive(time):
        raise ValueError(text)
    return in_milliseconds(time)
