"""Users from a file: another program's, an export, or a record. Everything is checked before anything is written.

    json    an array of objects           [{"id": 1, "username": …, "email": …, "hashed_password": "$2b$12$…"}, …]
    jsonl   an object a line; or the lines of a record, of which the last of each user counts, with the histories
    csv     a header, then a row a user; nothing between two commas is a value that was left out

What is needed of a user: `username`, `email`, `hashed_password`. The rest is that of `exports.COLUMNS`.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models.functions import Lower

from . import index, journal, lines, passwords
from .changes import now
from .entries import Entry
from .exports import COLUMNS
from .latest import newest
from .models import Deletion, User, UserChange

Row = dict[str, Any]
UNIQUE = ("username", "email")
NEEDED = (*UNIQUE, "hashed_password")


@dataclass
class Plan:
    """What an import would write, and what it would not."""

    users: dict[str, User] = field(default_factory=dict)
    deletions: dict[str, Deletion] = field(default_factory=dict)
    changes: dict[int, UserChange] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    # Whether any of it is of a record, which says who was deleted.
    of_record: bool = False

    def reject(self, place: str, why: str) -> None:
        """Leave out what stands there."""
        self.users.pop(place, None)
        self.deletions.pop(place, None)
        self.rejected.append((place, why))


def plan(entries: Iterable[Entry], progress: Callable[[int], object]) -> Plan:
    """Check each entry by itself, then all of them together; call `progress` with how many were read."""
    found = Plan()
    creators: dict[str, object] = {}
    recorded: dict[int, str] = {}
    for number, entry in enumerate(entries, 1):
        try:
            read = parsed(entry, creators)
        except ValueError as exc:
            found.reject(entry.place, str(exc))
        else:
            found.of_record |= is_recorded(entry.value)
            if isinstance(read, UserChange):
                found.changes[read.pk] = read
            elif is_recorded(entry.value):
                supersede(found, recorded, read, entry.place)
            elif isinstance(read, User):
                found.users[entry.place] = read
        progress(number)
    check_taken(found)
    find_creators(found, creators)
    # As they stand in the file: a place ends with its number.
    found.rejected.sort(key=lambda rejected: int(rejected[0].rpartition(" ")[2]))
    return found


def parsed(entry: Entry, creators: dict[str, object]) -> lines.Entry:
    """Return what the entry says, and remember by its place who made that user; raise `ValueError`."""
    if entry.fault:
        raise ValueError(entry.fault)
    if is_recorded(entry.value):
        read = lines.parse(json.dumps(entry.value).encode())
        check_room(read)
        if isinstance(read, User):
            read.password = passwords.imported(read.password)
            creators[entry.place] = read.created_by
        return read
    if not isinstance(entry.value, dict):
        raise ValueError("expected an object of a user's fields")  # noqa: TRY004  # every fault of a file is a ValueError
    values: Row = entry.value
    creators[entry.place] = values.get("created_by")
    made = user_of(values)
    check_room(made)
    return made


def check_room(read: lines.Entry) -> None:
    """Raise `ValueError` for numbers that leave too few after them for those that are given here."""
    for name in ("pk", "session_epoch", "sessions_ended_seq"):
        if (getattr(read, name, None) or 0) > lines.IMPORTABLE:
            raise ValueError(f"{name}: expected a whole number up to {lines.IMPORTABLE}")


def is_recorded(value: object) -> bool:
    """Return whether that is a line of a record."""
    return isinstance(value, dict) and set(value) == {"model", "pk", "fields"}


def user_of(values: Row) -> User:
    """Return the user of those fields, without an id where none is given; raise `ValueError` that says all faults."""
    faults = [f"unknown field {json.dumps(name)[:60]}" for name in sorted(set(values) - set(COLUMNS))]
    faults += [f"{name}: is missing" for name in NEEDED if name not in values]
    found: Row = {}
    for column in User._meta.concrete_fields:  # noqa: SLF001  # Django's documented _meta
        name = column.name
        if name not in values or name not in COLUMNS or name in {"id", "created_by"}:
            continue
        try:
            value = "" if name == "full_name" and values[name] is None else values[name]
            found[name] = lines.checked(column, value)
        except ValueError as exc:
            faults.append(str(exc))
    identifier = values.get("id")
    if identifier is not None and (type(identifier) is not int or not 0 < identifier <= lines.IMPORTABLE):
        faults.append(f"id: expected a whole number from 1 to {lines.IMPORTABLE}")
    try:
        found["password"] = hash_of(values.get("hashed_password", "!"))
    except ValueError as exc:
        faults.append(f"hashed_password: {exc}")
    if faults:
        raise ValueError("; ".join(faults))
    created, updated = (in_milliseconds(found.pop(name, None)) for name in ("created_at", "updated_at"))
    created = created or updated or now()
    return User(id=identifier, created_at=created, updated_at=updated or created, **found)


def hash_of(value: object) -> str:
    """Return the hash as it is stored here; raise `ValueError`."""
    if not isinstance(value, str):
        raise ValueError("expected a string")  # noqa: TRY004  # every fault of a file is a ValueError
    return passwords.imported(value)


def in_milliseconds(time: datetime | None) -> datetime | None:
    """Return the time in the precision of the record."""
    return time and time.replace(microsecond=time.microsecond // 1000 * 1000)


def supersede(found: Plan, recorded: dict[int, str], read: User | Deletion, place: str) -> None:
    """Put the entry in the place of the one that an earlier line of the record has of the same user."""
    earlier = recorded.get(read.pk, "")
    if earlier in found.deletions:
        found.reject(place, f"user {read.pk} was deleted before, at {earlier}")
        return
    found.users.pop(earlier, None)
    recorded[read.pk] = place
    if isinstance(read, User):
        found.users[place] = read
    else:
        found.deletions[place] = read


def check_taken(found: Plan) -> None:
    """Reject what has the id, username or email of another entry, of a stored user or, an id, of a deleted one.

    All that an entry has of others is said at once. Who is rejected takes nothing from those after them.
    """
    users = set(User.objects.values_list("pk", flat=True))
    deleted = set(Deletion.objects.values_list("pk", flat=True))
    stored = {name: set(User.objects.values_list(Lower(name), flat=True)) for name in UNIQUE}
    seen: dict[tuple[str, object], str] = {}
    entries: list[tuple[str, User | Deletion]] = [*found.users.items(), *found.deletions.items()]
    for place, entry in entries:
        has: list[tuple[str, object]] = []
        faults = []
        if entry.pk:
            has.append(("id", entry.pk))
            if has[-1] in seen:
                faults.append(f"id: {entry.pk} is also that of {seen[has[-1]]}")
            elif entry.pk in users:
                faults.append(f"id: a user with {entry.pk} exists already")
            elif entry.pk in deleted:
                faults.append(f"id: {entry.pk} was a deleted user's; ids are not used again")
        for name in UNIQUE if isinstance(entry, User) else ():
            has.append((name, getattr(entry, name).lower()))
            if has[-1] in seen:
                faults.append(f"{name}: is also that of {seen[has[-1]]}, in any case")
            elif has[-1][1] in stored[name]:
                faults.append(f"{name}: a user with it exists already")
        if faults:
            found.reject(place, "; ".join(faults))
        else:
            seen |= dict.fromkeys(has, place)


def find_creators(found: Plan, creators: dict[str, object]) -> None:
    """Say who made each user, by an id or a username of those that are imported too; leave out whoever is not.

    The file's ids are those of where it comes from: who has one of them here is another.
    """
    known = {entry.pk for entry in (*found.users.values(), *found.deletions.values()) if entry.pk}
    named = {user.username.lower(): user.pk for user in found.users.values() if user.pk}
    for place, user in found.users.items():
        creator = creators[place]
        user.created_by = None
        if isinstance(creator, str):
            user.created_by = named.get(creator.lower())
        elif type(creator) is int and creator in known:
            user.created_by = creator
        if creator is not None and user.created_by is None:
            found.notes.append((place, "created_by: is nobody who is imported too, and was left out"))


def write(found: Plan, next_id: int = 1) -> int:
    """Write the plan in one go, and see to it that no later user gets an id below `next_id`; return the last one.

    Raises `Unavailable`, `StorageFull`, and `IntegrityError` where another came before.
    """
    with journal.writing() as changes:
        users = list(found.users.values())
        deletions = list(found.deletions.values())
        highest = max([index.last_id(), *(entry.pk for entry in (*users, *deletions) if entry.pk)])
        following: int = max(highest, next_id - 1)
        for user in users:
            if not user.pk:
                user.pk = highest = following = index.following(following)
        if highest < following:
            # Whoever it was is no user here: what keeps an id from being given again is that its user was deleted.
            deletions.append(Deletion(user_id=following, deleted_at=now()))
        imported = {entry.pk for entry in (*users, *deletions)}
        histories = [change for _, change in sorted(newest(found.changes).items()) if change.user_id in imported]
        for number, change in enumerate(histories, index.next_change_id()):
            change.pk = number
        changes.load([*histories, *users, *deletions])
    return following
