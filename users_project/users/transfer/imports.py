"""Import of users: everything is checked before anything is written.

A row has `username`, `email`, `hashed_password` and any of the other columns. A users.jsonl can be imported too, of
this version or of an earlier one: the last line of each user counts.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db.models.functions import Lower
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from chassis.serializers import StrictSerializer
from chassis.validators import printable
from users import store
from users.models import Deletion, Entry, User, ascii_only, username_characters
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


class UserRow(StrictSerializer):
    """A row of a file, checked as the API checks a request."""

    id = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False, allow_null=True)
    username = serializers.CharField(max_length=150, trim_whitespace=False, validators=[username_characters])
    email = serializers.EmailField(max_length=254, trim_whitespace=False, validators=[ascii_only])
    full_name = serializers.CharField(
        max_length=150,
        trim_whitespace=False,
        allow_blank=True,
        allow_null=True,
        required=False,
        validators=[printable],
    )
    user_type = serializers.ChoiceField(User.Type.choices, required=False)
    is_active = serializers.BooleanField(required=False)
    hashed_password = serializers.CharField(max_length=200, trim_whitespace=False)
    created_by = serializers.JSONField(required=False, allow_null=True)
    created_at = serializers.DateTimeField(required=False, allow_null=True)
    updated_at = serializers.DateTimeField(required=False, allow_null=True)
    session_epoch = serializers.IntegerField(min_value=0, max_value=MAX_ID, required=False, allow_null=True)

    def validate_hashed_password(self, value: str) -> str:
        try:
            return imported(value)
        except ValueError as exc:
            raise ValidationError(str(exc)) from exc


# One for all rows: it has no state, and a new one would copy its fields.
_USER_ROW = UserRow()


@dataclass
class Plan:
    """What an import would write by place, what it rejects, and what it leaves out."""

    entries: dict[str, Entry] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    # Whether the file is a users.jsonl, which has the ids of deleted users too.
    is_record: bool = False

    def reject(self, place: str, reason: str) -> None:
        self.entries.pop(place, None)
        self.rejected.append((place, reason))

    @property
    def users(self) -> list[User]:
        return [entry for entry in self.entries.values() if isinstance(entry, User)]


def plan(rows: Iterable[Row], progress: Callable[[int], object]) -> Plan:
    """Check each row by itself, then all of them together. `progress` is called with the number of rows read."""
    found = Plan()
    creators: dict[str, object] = {}
    places: dict[int, str] = {}
    for number, row in enumerate(rows, 1):
        try:
            entry = _entry_of(row, found, creators)
        except (ValueError, ValidationError) as exc:
            found.reject(row.place, row.fault or _reason(exc))
        else:
            if entry is not None:
                if found.is_record:  # the last line of each user counts
                    found.entries.pop(places.get(entry.id, ""), None)
                    places[entry.id] = row.place
                found.entries[row.place] = entry
        progress(number)
    _reject_taken(found)
    _resolve_creators(found, creators)
    found.rejected.sort(key=lambda each: int(each[0].rpartition(" ")[2]))  # a place ends with its number
    return found


def write(found: Plan, next_id: int = 1) -> int:
    """Write the plan at once, and give no later user an id below `next_id`; return the next id.

    Raises `Unavailable`, `StorageFull`, and `IntegrityError` if a name or an id was taken since the check.
    """
    with store.writing() as writer:
        given = max((entry.id for entry in found.entries.values() if entry.id), default=0)
        following = max(tables.next_id(), given + 1)
        for user in found.users:
            if not user.pk:
                user.pk, following = following, following + 1
        writer.load(found.entries.values())
        following = max(following, next_id)
        writer.floor = following - 1
    return following


def _entry_of(row: Row, found: Plan, creators: dict[str, object]) -> Entry | None:
    if row.fault:
        raise ValueError(row.fault)
    value = row.value
    if isinstance(value, dict) and value.keys() == {"model", "pk", "fields"}:
        if value["model"] == _EARLIER_HISTORY:
            return None
        value = _from_earlier(value)
    if isinstance(value, dict) and ("deleted" in value or "password" in value):
        found.is_record = True
        entry = decode(json.dumps(value).encode())
        if isinstance(entry, User):
            entry.password = imported(entry.password)
            entry.is_rehash = False
            creators[row.place] = entry.created_by
        return entry
    data = _USER_ROW.run_validation(value)
    creators[row.place] = data.pop("created_by", None)
    return _user_of(data)


def _from_earlier(value: dict[Any, Any]) -> dict[str, Any]:
    """Return the line of an earlier version as this one has it."""
    if value["model"] not in _EARLIER_MODELS or not isinstance(value["fields"], dict):
        raise ValueError("not a line of a users.jsonl")
    data: dict[str, Any] = {"id": value["pk"]}
    for name, content in value["fields"].items():
        data[_EARLIER_NAMES.get(str(name), str(name))] = content
    return data | ({"deleted": True} if _EARLIER_MODELS[value["model"]] else {})


def _user_of(data: dict[str, Any]) -> User:
    data = {name: value for name, value in data.items() if value is not None}
    now = datetime.now(UTC)
    created = in_milliseconds(data.pop("created_at", None) or data.get("updated_at") or now)
    updated = in_milliseconds(data.pop("updated_at", None) or created)
    password = data.pop("hashed_password")
    return User(created_at=created, updated_at=updated, password_changed_at=updated, password=password, **data)


def _reason(exc: ValueError | ValidationError) -> str:
    if not isinstance(exc, ValidationError):
        return str(exc)
    detail = exc.detail
    if isinstance(detail, dict):
        return "; ".join(f"{name}: {' '.join(map(str, messages))}" for name, messages in detail.items())
    return " ".join(map(str, detail))


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


def _resolve_creators(found: Plan, creators: dict[str, object]) -> None:
    """Keep `created_by`, an id or a username, only of users in the same file: elsewhere an id is another user's."""
    known = {entry.pk for entry in found.entries.values() if entry.pk}
    named = {user.username.lower(): user.pk for user in found.users if user.pk}
    for place, user in found.entries.items():
        if isinstance(user, User):
            creator = creators.get(place)
            user.created_by = None
            if isinstance(creator, str):
                user.created_by = named.get(creator.lower())
            elif type(creator) is int and creator in known:
                user.created_by = creator
            if creator is not None and user.created_by is None:
                found.notes.append((place, "created_by was left out: that user is not imported"))
