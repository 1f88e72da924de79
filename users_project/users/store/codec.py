"""A line of the record: one version of a user, or a user's deletion, as a flat JSON object.

{"id": 7, "username": "eva", …, "updated_by": 1, "updated_at": "2030-01-31T12:00:00.000Z", …}
{"id": 7, "updated_by": 1, "updated_at": "…", "session_epoch": 3, "session_end": 12, "deleted": true}
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any, Literal

from django.core.exceptions import ValidationError as ModelValidationError
from django.core.validators import validate_email
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from chassis.validators import printable
from users.models import Deletion, Entry, User, ascii_only, username_characters

MAX_NUMBER = 10**18 - 1  # as many digits as an id in a URL may have


class BadLineError(ValueError):
    """A line that is not a version of a user. The message has no values: one of them is a password hash."""


def _time(value: object) -> datetime:
    time = parse_datetime(value) if isinstance(value, str) else None
    if time is None or is_naive(time):
        raise ValueError("expected a time in ISO 8601 with its offset from UTC")
    return in_milliseconds(time.astimezone(UTC))


def _rules(*validators: Callable[[str], None]) -> AfterValidator:
    """Return the model's validators of a field as a line has to follow them."""

    def check(value: str) -> str:
        try:
            for validator in validators:
                validator(value)
        except ModelValidationError as exc:
            raise ValueError(" ".join(exc.messages)) from exc
        return value

    return AfterValidator(check)


_Id = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
_Number = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
_Time = Annotated[datetime, BeforeValidator(_time)]


class UserLine(BaseModel, strict=True, extra="forbid"):
    """The fields of a user in their order. A line appended by hand may leave out those that have a default."""

    id: _Id
    username: Annotated[str, Field(max_length=150), _rules(username_characters)]
    email: Annotated[str, Field(max_length=254), _rules(ascii_only, validate_email)]
    full_name: Annotated[str, Field(max_length=150), _rules(printable)] = ""
    user_type: Literal["admin", "default"] = "default"
    is_active: bool = True
    password: Annotated[str, Field(min_length=1, max_length=128)]
    created_by: _Number | None = None
    created_at: _Time
    updated_by: _Number | None = None
    updated_at: _Time
    password_changed_at: _Time | None = None
    session_epoch: _Number = 0
    kept_session: Annotated[str, Field(max_length=255)] = ""
    session_end: _Number = 0
    rehash: bool = False  # only written if it is true


class DeletionLine(BaseModel, strict=True, extra="forbid"):
    id: _Id
    updated_by: _Number | None = None
    updated_at: _Time
    session_epoch: _Number = 0
    session_end: _Number = 0
    deleted: bool  # true


_USER_FIELDS, _DELETION_FIELDS = (tuple(line.model_fields)[:-1] for line in (UserLine, DeletionLine))
_model_values = attrgetter(*(field.attname for field in User._meta.concrete_fields))  # noqa: SLF001  # documented


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


def decode(line: bytes, *, has_password: bool = True) -> Entry:
    """Return the user or the deletion that is the line; raise `BadLineError`. A history has no passwords."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as exc:  # of JSON, or of UTF-8
        raise BadLineError("expected a JSON object in UTF-8") from exc
    if not isinstance(data, dict):
        raise BadLineError("expected a JSON object")
    if not has_password and "password" in data:
        data["password"] = "!"
    return entry_of(data)


def entry_of(data: dict[str, Any]) -> Entry:
    """Return the user or the deletion of these fields; raise `BadLineError`."""
    try:
        if data.get("deleted"):
            return Deletion(**DeletionLine.model_validate(data).model_dump(exclude={"deleted"}))
        line = UserLine.model_validate(data)
    except ValidationError as exc:
        faults = [f"{error['loc'][0]}: {error['msg'].removeprefix('Value error, ')}" for error in exc.errors()]
        raise BadLineError("; ".join(faults)[:500]) from exc
    user = User(*_model_values(line))  # type: ignore[misc]  # in the model's order
    user.is_rehash = line.rehash
    return user


def in_milliseconds(time: datetime) -> datetime:
    """Return the time with the precision of the record."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def plain(value: object) -> object:
    """Return a field's value as JSON has it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
