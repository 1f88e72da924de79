"""A user's history: the difference of their consecutive versions. The same for both stores."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, pairwise

from users.models import Deletion, Entry, User

_SHOWN = ("email", "full_name", "is_active", "user_type", "username")


@dataclass(frozen=True)
class Change:
    """What was done to a user, the oldest as number 1. `changes` are fields with their old and new values.

    Of a password it is the field alone.
    """

    number: int
    action: str
    at: datetime
    by: int | None
    changes: list[dict[str, object]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what was done in words, a line for each field."""
        values = "{field}: {old} → {new}"
        said = [(values if "old" in each else "{field} changed").format_map(each) for each in self.changes]
        return said or [self.action]


def changes(versions: Iterable[Entry]) -> list[Change]:
    """Return the changes between the versions, which are oldest first; the newest change comes first."""
    found: list[Change] = []
    for before, after in pairwise(chain([None], versions)):
        if after and (change := change_between(before, after, len(found) + 1)):
            found.append(change)
    return found[::-1]


def change_between(before: Entry | None, after: Entry, number: int = 1) -> Change | None:
    """Return what was done to a user, or None for a new hash of the same password."""
    if isinstance(after, Deletion):
        return Change(number, "deleted", after.updated_at, after.updated_by)
    if not isinstance(before, User):
        return Change(number, "created", after.created_at, after.created_by)
    difference = _difference(before, after)
    return Change(number, "changed", after.updated_at, after.updated_by, difference) if difference else None


def _difference(before: User, after: User) -> list[dict[str, object]]:
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in _SHOWN)
    found: list[dict[str, object]] = [{"field": name, "old": old, "new": new} for name, old, new in pairs if old != new]
    if before.password_changed_at != after.password_changed_at:
        found.append({"field": "password"})
    return sorted(found, key=lambda each: str(each["field"]))
