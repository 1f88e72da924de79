"""Import of users: everything is checked before anything is written.

A row has what creates a user in the API, with `hashed_password` instead of `password`, and any of the other columns.
The API's own serializer checks it. A users.jsonl can be imported too, of this version or of an earlier one: the last
line of each user counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from django.db.models.functions import Lower
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from chassis.problems import flatten
from users import store
from users.api.serializers import UserIn
from users.models import Deletion, Entry, User
from users.store import tables
from users.store.codec import MAX_NUMBER, entry_of, in_milliseconds

from .hashes import imported
from .readers import COLUMNS, Row

# How a users.jsonl of an earlier version calls its lines, and what is called otherwise now.
_EARLIER_MODELS = {"users.user": {}, "users.deletion": {"deleted": True}}
_EARLIER_NAMES = {"sessions_ended_seq": "session_end", "deleted_at": "updated_at", "deleted_by": "updated_by"}
_EARLIER_HISTORY = "users.userchange"
_USER_LINE = {"password", "created_at", "updated_at"}  # what each line of a user has


class UserRow(UserIn):
    """A row of a file. `hashed_password` may be of another program; without an id, the user gets the next one."""

    id = serializers.IntegerField(min_value=1, max_value=MAX_NUMBER, required=False)
    password = None  # type: ignore[assignment]  # DRF's way to leave a field out
    hashed_password = serializers.CharField(trim_whitespace=False)
    created_by = serializers.IntegerField(required=False)
    created_at = serializers.DateTimeField(required=False)
    updated_at = serializers.DateTimeField(required=False)
    session_epoch = serializers.IntegerField(min_value=0, max_value=MAX_NUMBER, required=False)

    class Meta(UserIn.Meta):
        fields = COLUMNS

    def validate_hashed_password(self, value: str) -> str:
        try:
            return imported(value)
        except ValueError as exc:
            raise ValidationError(str(exc)) from exc

    def entry(self, row: dict[str, Any]) -> User:
        """Return the user of the row, now created if it has no times. Raises `ValidationError`."""
        if type(row.get("created_by")) is not int:  # a name, in another program
            row.pop("created_by", None)
        values = self.run_validation(row)
        password = values.pop("hashed_password")
        created = values.pop("created_at", None) or values.get("updated_at") or datetime.now(UTC)
        updated = in_milliseconds(values.pop("updated_at", created))
        times = {"created_at": in_milliseconds(created), "updated_at": updated, "password_changed_at": updated}
        return User(password=password, **times, **values)


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
    found, serializer = Plan(), UserRow()
    places: dict[int, str] = {}
    for row in rows:
        try:
            entry, is_line = _entry_of(row, serializer)
        except ValidationError as exc:
            faults = flatten(exc.detail).items()
            found.reject(row.place, "; ".join(f"{name}: {' '.join(messages)}" for name, messages in faults))
        except ValueError as exc:
            found.reject(row.place, str(exc))
        else:
            if is_line and entry:  # the last line of each user counts
                found.entries.pop(places.get(entry.id, ""), None)
                places[entry.id] = row.place
            if entry:
                found.entries[row.place] = entry
    _reject_taken(found)
    # Of other creators an id is another user's here.
    known = {entry.pk for entry in found.entries.values()}
    for user in found.users:
        user.created_by = user.created_by if user.created_by in known else None
    found.rejected.sort(key=lambda each: int(each[0].rpartition(" ")[2]))  # a place ends with its number
    return found


def write(found: Plan) -> None:
    """Write the plan at once. New ids are above all of the file's.

    Raises `Unavailable`, `StorageFull`, and `IntegrityError` if a name or an id was taken since the check.
    """
    entries = found.entries.values()
    with store.writing() as writer:
        free = count(max([tables.next_id(), *(entry.id + 1 for entry in entries if entry.id)]))
        for user in found.users:
            user.pk = user.pk or next(free)
        writer.load(entries)


def _entry_of(row: Row, serializer: UserRow) -> tuple[Entry | None, bool]:
    """Return the user or deletion, None for a history's line, and whether the row is a line of a users.jsonl."""
    if row.fault:
        raise ValueError(row.fault)
    if not isinstance(row.value, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004  # every fault is a ValueError
    data = {name: value for name, value in row.value.items() if value is not None}
    if data.get("model") == _EARLIER_HISTORY:
        return None, True
    if "model" in data:
        data = _from_earlier(data)
    if "deleted" not in data and ("hashed_password" in data or not data.keys() >= _USER_LINE):
        if "password" in data:
            raise ValueError("The field of the hash is hashed_password, not password")
        return serializer.entry(data), False
    entry = entry_of(data)
    if isinstance(entry, User):
        entry.password, entry.is_rehash = imported(entry.password), False
        entry.password_changed_at = entry.password_changed_at or entry.updated_at
    return entry, True


def _from_earlier(value: dict[str, Any]) -> dict[str, Any]:
    """Return the line of an earlier version as this one has it."""
    if value["model"] not in _EARLIER_MODELS or not isinstance(value.get("fields"), dict):
        raise ValueError("not a line of a users.jsonl")
    data = {_EARLIER_NAMES.get(name, name): content for name, content in value["fields"].items()}
    return {"id": value.get("pk")} | data | _EARLIER_MODELS[value["model"]]


def _reject_taken(found: Plan) -> None:
    """Reject an id, username or email that another entry, a stored or a deleted user has."""
    deleted = Deletion.objects.values_list("pk", flat=True)
    owners: dict[tuple[str, object], str] = {("id", pk): "a deleted user" for pk in deleted}
    for pk, *names in User.objects.values_list("pk", Lower("username"), Lower("email")):
        owners |= dict.fromkeys([("id", pk), *zip(("username", "email"), names, strict=True)], "a stored user")
    for place, entry in list(found.entries.items()):
        own: list[tuple[str, object]] = [("id", entry.pk)] if entry.pk else []
        if isinstance(entry, User):
            own += [("username", entry.username.lower()), ("email", entry.email.lower())]
        if taken := [key for key in own if key in owners]:
            found.reject(place, "; ".join(f"{key[0]}: is also that of {owners[key]}" for key in taken))
        else:
            owners |= dict.fromkeys(own, place)
