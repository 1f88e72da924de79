"""Whether the index says what the file does: the check behind `manage.py verify_users`, which changes nothing."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import index, record
from .journal import Journal, extent_of
from .lines import Entry
from .models import Deletion, User, UserChange
from .record import Extent

Rows = dict[int, list[Any]]


@dataclass
class Findings:
    """How many lines, users and deletions the file has, and what is different in the index, without the values.

    `is_index_at_fault` where the index says that it is of this file, all of it.
    """

    lines: int = 0
    users: int = 0
    deletions: int = 0
    is_index_at_fault: bool = True
    differences: list[str] = field(default_factory=list)


def verify(journal: Journal) -> Findings:
    """Compare the two as they are at one moment. Raises `JournalError` for what cannot be read, `Unavailable`.

    The moment is under the writers' lock. The file is read after it, as far as it was then: lines are only appended to
    that one, whatever is put in its place.
    """
    with journal.lock.held():
        position = index.position() if index.file_identity() else None
        stored = {model: rows(model) if position else {} for model in (User, Deletion, UserChange)}
        record.check_file(journal.path)
        file = journal.path.open("rb") if record.identity(journal.path) else None
        size = os.fstat(file.fileno()).st_size if file else 0
    known = extent_of(position) if position else Extent()
    extent, entries = Extent(), []
    is_same_file = extent == known
    if file:
        with file:
            for reached, line in record.lines_of(file, extent):
                if reached.offset > size:  # appended since
                    break
                extent = reached
                is_same_file = is_same_file or extent == known
                if line.strip():
                    entries.append((extent.lines, entry_of(journal, extent.lines, line, may_cut=is_same_file)))
    if position and position.live and not entries:
        raise record.lost_error(journal.path)
    latest = journal.latest(entries)
    changes = latest.kept_changes()
    found = Findings(extent.lines, len(latest.users), len(latest.deletions), is_index_at_fault=extent == known)
    if position is None:
        found.differences.append("there is no index: a start of the service makes it of the file")
        return found
    if not is_same_file:
        found.differences.append("the file is not the one that the index was made from: the service reads it again")
    elif extent != known:
        found.differences.append(f"the service has not read the file from line {known.lines + 1} on")
    found.differences += differences("user", User, latest.users, stored[User])
    found.differences += differences("deletion", Deletion, latest.deletions, stored[Deletion])
    found.differences += differences("history", UserChange, changes, stored[UserChange])
    if extent == known and position.live != found.users + found.deletions + len(changes):
        found.differences.append("the index counts other lines than the file has")
    return found


def entry_of(journal: Journal, number: int, line: bytes, *, may_cut: bool) -> Entry:
    """Return the entry of the line; raise `JournalError`, of a torn line that a start does not cut off as that does."""
    if not (may_cut or line.endswith(b"\n") or record.is_object(line)):
        raise record.JournalError(journal.path, number, f"{record.TORN} {record.PUT_BACK}")
    return journal.parse(number, line)


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
