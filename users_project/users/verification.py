"""Whether the index says what the file does: the check behind `manage.py verify_users`, which changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import record
from .journal import Journal
from .lines import Entry
from .models import Deletion, User, UserChange
from .record import Extent

Rows = dict[int, list[Any]]


@dataclass
class Findings:
    """How many lines, users and deletions the file has, and what is different in the index, without the values."""

    lines: int = 0
    users: int = 0
    deletions: int = 0
    differences: list[str] = field(default_factory=list)


def verify(journal: Journal) -> Findings:
    """Compare the two as they are at one moment. Raises `JournalError` for what cannot be read, `Unavailable`.

    The moment is under the writers' lock. The file is read after it, as far as it was then: lines are only appended to
    that one, whatever is put in its place.
    """
    with journal.lock.held():
        position = journal.bring_up()
        stored = {model: rows(model) for model in (User, Deletion, UserChange)}
        file = journal.path.open("rb") if position.lines else None
    extent, entries = Extent(), []
    if file:
        with file:
            for extent, line in record.lines_of(file, Extent()):
                if extent.offset > position.offset:  # appended since
                    break
                entries.append((extent.lines, journal.parse(extent.lines, line)))
    latest = journal.latest(entries)
    users = {pk: user for pk, (_, user) in latest.users.items()}
    found = Findings(len(entries), len(users), len(latest.deletions))
    found.differences += differences("user", User, users, stored[User])
    found.differences += differences("deletion", Deletion, latest.deletions, stored[Deletion])
    found.differences += differences("history", UserChange, latest.changes, stored[UserChange])
    if (position.lines, position.live) != (found.lines, found.users + found.deletions + len(latest.changes)):
        found.differences.append("the index counts other lines than the file has")
    return found


def rows(model: type[Entry]) -> Rows:
    """Return every row of the model, by id."""
    return {pk: values for pk, *values in model._default_manager.values_list("pk", *names(model))}  # noqa: SLF001


def names(model: type[Entry]) -> list[str]:
    """Return the names of the model's columns."""
    return [item.attname for item in model._meta.concrete_fields]  # noqa: SLF001  # Django's documented _meta


def differences(kind: str, model: type[Entry], said: Mapping[int, Entry], stored: Rows) -> list[str]:
    """Return what is different between what the file says and what is stored, by id."""
    found = []
    for pk in sorted(said.keys() | stored.keys()):
        if pk not in stored:
            found.append(f"{kind} {pk}: in the file, not in the index")
        elif pk not in said:
            found.append(f"{kind} {pk}: in the index, not in the file")
        else:
            columns = names(model)
            values = zip(columns, (getattr(said[pk], name) for name in columns), stored[pk], strict=True)
            if unlike := [name for name, value, other in values if value != other]:
                found.append(f"{kind} {pk}: {', '.join(unlike)} not the same in the index")
    return found
