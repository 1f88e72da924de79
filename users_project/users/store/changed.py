"""The users that a request has changed, for the gateway's audit trail: their ids and the names of the fields."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from users.models import Entry

from . import history

# Characters of a description: the ids of 500 users, the most that an action of the admin changes.
MAX_LENGTH: Final = 4000
# Ids by what was done to these users.
Changed = dict[str, list[int]]
_changed: ContextVar[Changed | None] = ContextVar("changed", default=None)


@contextmanager
def collected() -> Iterator[Changed]:
    """Collect what is stored inside of the block."""
    found: Changed = {}
    token = _changed.set(found)
    try:
        yield found
    finally:
        _changed.reset(token)


def note(before: Entry | None, after: Entry) -> None:
    """Collect a new version of a user."""
    found = _changed.get()
    if found is not None and (change := history.change_between(before, after)):
        what = ", ".join(str(each["field"]) for each in change.changes) or change.action
        found.setdefault(what, []).append(after.id)


def described(found: Changed) -> str:
    """Return the changes in a line of ASCII: `user 7: email, password; users 8, 9: is_active`."""
    text = "; ".join(f"user{'s' * (len(ids) > 1)} {', '.join(map(str, ids))}: {what}" for what, ids in found.items())
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."
