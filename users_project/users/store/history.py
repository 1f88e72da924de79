"""A user's history: the difference of their consecutive versions. The same for both stores."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from users.models import Deletion, Entry, User

_SHOWN = ("username", "email", "full_name", "user_type", "is_active")


@dataclass(frozen=True)
class Change:
    """What was done to a user: `values` is `{field: [old, new]}`, of the password `[]`. The oldest is number 1."""

    number: int
    action: str
    at: datetime
    by: int | None
    values: dict[str, list[object]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return what was done in words, a line for each field."""
        said = [
            f"{name}: {values[0]} → {values[1]}" if values else f"{name} changed"
            for name, values in sorted(self.values.items())
        ]
        return said or [self.action]


def changes(versions: Iterable[Entry]) -> list[Change]:
    """Return the changes between the versions, which are oldest first; the newest change comes first."""
    found: list[Change] = []
    before: Entry | None = None
    for after in versions:
        number = len(found) + 1
        if isinstance(after, Deletion):
            found.append(Change(number, "deleted", after.updated_at, after.updated_by))
        elif before is None:
            found.append(Change(number, "created", after.created_at, after.created_by))
        elif isinstance(before, User) and (values := _difference(before, after)):
            found.append(Change(number, "changed", after.updated_at, after.updated_by, values))
        before = after
    return found[::-1]


def _difference(before: User, after: User) -> dict[str, list[object]]:
    values: dict[str, list[object]] = {
        name: [getattr(before, name), getattr(after, name)]
        for name in _SHOWN
        if getattr(before, name) != getattr(after, name)
    }
    if before.password_changed_at != after.password_changed_at:
        values["password"] = []
    return values
