"""Import of users: everything is checked before anything is written.

A row has `username`, `email`, `hashed_password` and any of the other columns. A users.jsonl can be imported too, of
this version or of an earlier one: the last line of each user counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from django.db.models.functions import Lower
from pydantic import AfterValidator, Field

from users import store
from users.models import Deletion, Entry, User
from users.store import tables
from users.store.codec import MAX_NUMBER, UserLine, entry_of, plain

from .hashes import imported
from .readers import Row

_NAMES = ("username", "email")
# How a users.jsonl of an earlier version calls its lines, and what is called otherwise now.
_EARLIER_MODELS = {"users.user": False, "users.deletion": True}
_EARLIER_NAMES = {"sessions_ended_seq": "session_end", "deleted_at": "updated_at", "deleted_by": "updated_by"}
_EARLIER_HISTORY = "users.userchange"


class UserRow(UserLine, populate_by_name=True):
    """A row of a file. `hashed_password` may be of another program; without an id, the user gets the next one."""

    id: int | None = Field(None, ge=1, le=MAX_NUMBER)  # type: ignore[assignment]  # a line has one
    password: Annotated[str, AfterValidator(imported)] = Field(alias="hashed_password")


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
        except ValueError as exc:
            found.reject(row.place, str(exc))
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
    """Return the user or deletion of the row, None for a history's line. Raises `ValueError`."""
    if row.fault:
        raise ValueError(row.fault)
    if not isinstance(row.value, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004  # every fault is a ValueError
    data = {name: value for name, value in row.value.items() if value is not None}
    if data.get("model") == _EARLIER_HISTORY:
        return None
    if "model" in data:
        data = _from_earlier(data)
    entry = entry_of(data if data.get("deleted") else _completed(data), UserRow)
    if isinstance(entry, User):
        entry.is_rehash = False
    return entry


def _from_earlier(value: dict[Any, Any]) -> dict[str, Any]:
    """Return the line of an earlier version as this one has it."""
    if value["model"] not in _EARLIER_MODELS or not isinstance(value.get("fields"), dict):
        raise ValueError("not a line of a users.jsonl")
    data: dict[str, Any] = {"id": value.get("pk")}
    for name, content in value["fields"].items():
        data[_EARLIER_NAMES.get(str(name), str(name))] = content
    return data | ({"deleted": True} if _EARLIER_MODELS[value["model"]] else {})


def _completed(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with the times that it leaves out. A creator who is no number here is unknown."""
    created = row.get("created_at") or row.get("updated_at") or plain(datetime.now(UTC))
    updated = row.get("updated_at") or created
    data = {"created_at": created, "updated_at": updated, "password_changed_at": updated} | row
    return data if type(data.get("created_by")) is int else data | {"created_by": None}


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
