"""Import of users: everything is checked before anything is written.

A row has `username`, `email`, `hashed_password` and any of the other columns. A users.jsonl can be imported too, of
this version or of an earlier one: the last line of each user counts.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from django.db.models.functions import Lower
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from chassis.problems import flatten
from users import store
from users.api.serializers import UserIn
from users.models import Deletion, Entry, User
from users.store import tables
from users.store.codec import decode, in_milliseconds

from .hashes import imported
from .readers import Row

_NAMES = ("username", "email")
MAX_ID = 10**18 - 1  # as many digits as an id in a URL may have
# How a users.jsonl of an earlier version calls its lines, and what is called otherwise now.
_EARLIER_MODELS = {"users.user": False, "users.deletion": True}
_EARLIER_NAMES = {"sessions_ended_seq": "session_end", "deleted_at": "updated_at", "deleted_by": "updated_by"}
_EARLIER_HISTORY = "users.userchange"


class UserRow(UserIn):
    """A row of a file: what the API takes, with the hash instead of the password, and what else is stored."""

    password = None  # type: ignore[assignment]  # how DRF leaves out a field
    id = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    hashed_password = serializers.CharField(max_length=200, trim_whitespace=False)
    created_by = serializers.JSONField(required=False)
    created_at = serializers.DateTimeField(required=False)
    updated_at = serializers.DateTimeField(required=False)
    session_epoch = serializers.IntegerField(min_value=0, max_value=MAX_ID, required=False)

    def validate_hashed_password(self, value: str) -> str:
        try:
            return imported(value)
        except ValueError as exc:
            raise ValidationError(str(exc)) from exc


# One for all rows: it has no state, and a new one would copy its fields.
_USER_ROW = UserRow()


@dataclass
class Plan:
    """What an import would write by place, and what it rejects."""

    entries: dict[str, Entry] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def reject(self, place: str, reason: str) -> None:
        self.entries.pop(place, None)
        self.rejected.append((place, reason))

    @property
    def users(self) -> list[User]:
        return [entry for entry in self.entries.values() if isinstance(entry, User)]


def plan(rows: Iterable[Row]) -> Plan:
    """Check each row by itself, then all of them together."""
    found = Plan()
    places: dict[int, str] = {}
    for row in rows:
        try:
            entry = _entry_of(row)
        except (ValueError, ValidationError) as exc:
            found.reject(row.place, row.fault or _reason(exc))
        else:
            if entry is not None:
                if _is_line(row.value):  # the last line of each user counts
                    found.entries.pop(places.get(entry.id, ""), None)
                    places[entry.id] = row.place
                found.entries[row.place] = entry
    _reject_taken(found)
    # Of other creators an id is another user's here.
    known = {entry.pk for entry in found.entries.values()}
    for user in found.users:
        user.created_by = user.created_by if user.created_by in known else None
    found.rejected.sort(key=lambda each: int(each[0].rpartition(" ")[2]))  # a place ends with its number
    return found


def write(found: Plan) -> int:
    """Write the plan at once; return the next id, which is above all of the file's.

    Raises `Unavailable`, `StorageFull`, and `IntegrityError` if a name or an id was taken since the check.
    """
    with store.writing() as writer:
        given = max((entry.id for entry in found.entries.values() if entry.id), default=0)
        following = max(tables.next_id(), given + 1)
        for user in found.users:
            if not user.pk:
                user.pk, following = following, following + 1
        writer.load(found.entries.values())
    return following


def _is_line(value: object) -> bool:
    """Return whether the value is a line of a users.jsonl."""
    return isinstance(value, dict) and ("deleted" in value or "password" in value or "model" in value)


def _entry_of(row: Row) -> Entry | None:
    if row.fault:
        raise ValueError(row.fault)
    value = row.value
    if _is_line(value):
        line = cast("dict[str, Any]", value)
        if line.get("model") == _EARLIER_HISTORY:
            return None
        entry = decode(json.dumps(_from_earlier(line) if "model" in line else line).encode())
        if isinstance(entry, User):
            entry.password = imported(entry.password)
            entry.is_rehash = False
        return entry
    if isinstance(value, dict):
        value = {name: each for name, each in value.items() if each is not None}
    return _user_of(_USER_ROW.run_validation(value))


def _from_earlier(value: dict[Any, Any]) -> dict[str, Any]:
    """Return the line of an earlier version as this one has it."""
    if value["model"] not in _EARLIER_MODELS or not isinstance(value.get("fields"), dict):
        raise ValueError("not a line of a users.jsonl")
    data: dict[str, Any] = {"id": value.get("pk")}
    for name, content in value["fields"].items():
        data[_EARLIER_NAMES.get(str(name), str(name))] = content
    return data | ({"deleted": True} if _EARLIER_MODELS[value["model"]] else {})


def _user_of(data: dict[str, Any]) -> User:
    now = datetime.now(UTC)
    created = in_milliseconds(data.pop("created_at", None) or data.get("updated_at") or now)
    updated = in_milliseconds(data.pop("updated_at", None) or created)
    password, creator = data.pop("hashed_password"), data.pop("created_by", None)
    creator = creator if type(creator) is int else None
    times = {"created_at": created, "updated_at": updated, "password_changed_at": updated}
    return User(password=password, created_by=creator, **times, **data)


def _reason(exc: ValueError | ValidationError) -> str:
    if not isinstance(exc, ValidationError):
        return str(exc)
    return "; ".join(f"{name}: {' '.join(messages)}" for name, messages in flatten(exc.detail).items())


def _reject_taken(found: Plan) -> None:
    """Reject an id, username or email that another entry or a stored user has."""
    users = set(User.objects.values_list("pk", flat=True))
    deleted = set(Deletion.objects.values_list("pk", flat=True))
    stored = {name: set(User.objects.values_list(Lower(name), flat=True)) for name in _NAMES}
    seen: dict[tuple[str, object], str] = {}
    for place, entry in list(found.entries.items()):
        own: list[tuple[str, object]] = [("id", entry.pk)] if entry.pk else []
        if isinstance(entry, User):
            own += [(name, getattr(entry, name).lower()) for name in _NAMES]
        faults = []
        for name, value in own:
            if (name, value) in seen:
                faults.append(f"{name}: is also that of {seen[name, value]}")
            elif name == "id" and value in deleted:
                faults.append(f"id: {value} was a deleted user's, and ids are not reused")
            elif value in (users if name == "id" else stored[name]):
                faults.append(f"{name}: is taken by a stored user")
        if faults:
            found.reject(place, "; ".join(faults))
        else:
            seen |= dict.fromkeys(own, place)
