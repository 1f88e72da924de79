"""The index: the tables of the models, derived from the record and disposable.

What is written here sends no signal and knows no rule: the journal has decided.

    JournalError (503)
    └── IndexDamagedError   SQLite finds the file damaged; says which file, what to do, and what that costs
"""

import logging
import os
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, OperationalError, connection, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max, QuerySet
from rest_framework.exceptions import APIException

from chassis.databases import StorageFull
from chassis.problems import Unavailable

from .lines import LARGEST, Entry
from .lock import WriterLock
from .models import Deletion, Position, User, UserChange
from .record import JournalError
from .record import identity as identity_at

log = logging.getLogger(__name__)

POSITION = 1
BATCH = 500
# Changes of one user that are kept, of each kind the newest; so that a user's history is bounded.
HISTORY = 100
# What tells whether sessions have to end; not more, so that an index of another version can be asked too.
RIGHTS = ("password", "user_type", "is_active", "session_epoch", "sessions_ended_seq")
opened = threading.local()
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class IndexDamagedError(JournalError):
    """SQLite finds the index damaged. It is not made anew by itself, as it may know what the record does not say."""


class NumbersExhausted(StorageFull):
    """Every id up to the largest is used: waiting changes nothing."""

    default_code = "ids_exhausted"
    wait = None


@dataclass
class Faults:
    """What this process has seen of the index, and until when: connections from before a fault are not used after it.

    `damage` is of the file of that identity, `unreadable` the file that had an I/O error.
    """

    count: int = 0
    damage: tuple[str, IndexDamagedError] | None = None
    unreadable: tuple[int, int] | None = None


faults = Faults()


def path() -> Path:
    """Return where the index is."""
    return Path(connection.settings_dict["NAME"])


def file_identity(suffix: str = "") -> tuple[int, int] | None:
    """Return which file the index is, or its companion of that suffix; `None` where there is none."""
    try:
        stat = os.stat(f"{connection.settings_dict['NAME']}{suffix}")  # noqa: PTH116  # once a request: half the time of Path.stat
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def remember_file(**kwargs: Any) -> None:  # noqa: ANN401  # a signal's
    """Remember which files this thread's connection has just opened."""
    opened.file, opened.log, opened.faults = file_identity(), file_identity("-wal"), faults.count


def connected_file() -> tuple[int, int] | None:
    """Return which file this thread's connection has open, though it may be deleted by now."""
    return getattr(opened, "file", None)


def leave_lost_files(lock: WriterLock) -> None:
    """Close this thread's connection where the index, or its log, was deleted or made again since it was opened.

    Raises `IndexDamagedError` while the index is as it was when it was found damaged.
    """
    if connection.in_atomic_block:
        return
    leave_replaced_file()
    if has_lost_log():
        with lock.held():
            leave_replaced_file()  # another writer may have seen to it
            if has_lost_log():
                copy_anew()
    if faults.damage:
        identity, error = faults.damage
        if identity == identity_at(path()):
            raise error.with_traceback(None)
        faults.damage = None


def leave_replaced_file() -> None:
    """Close this thread's connection where it is not to the index that is there, or had a fault."""
    if connection.connection is not None and (connected_file(), opened.faults) != (file_identity(), faults.count):
        connection.close()


def has_lost_log() -> bool:
    """Return whether SQLite's log was deleted under this process; any connection may have told by an I/O error."""
    file, found = file_identity(), file_identity("-wal")
    if file is None or connection.connection is None:
        return file is not None and file == faults.unreadable
    opened.log = opened.log or found  # SQLite makes it when it first needs it
    return file == faults.unreadable or opened.log != found


def copy_anew() -> None:
    """Put a copy of the index in its place, as of its last checkpoint, holding the lock.

    SQLite lets the connections of a process share what they know of a log, also where one has the deleted log open and
    another a new one: only another file is free of that. The record says what the log did.
    """
    connection.close()
    faults.unreadable = None
    fresh = path().with_suffix(".copy")
    try:
        fresh.touch(mode=0o600)
        shutil.copyfile(path(), fresh)
        for suffix in ("-wal", "-shm"):
            path().with_name(path().name + suffix).unlink(missing_ok=True)
        fresh.replace(path())
        log.warning("%s: its -wal was deleted or could not be read; went on with a copy without it", path())
    except OSError as exc:
        log.warning("%s: cannot be copied: %s", path(), exc)
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def note_fault(error: DatabaseError) -> IndexDamagedError | None:
    """Let no connection be used after an I/O error or damage; return what to say of the latter."""
    if not is_damage(error) and code_of(error) != sqlite3.SQLITE_IOERR:
        return None
    faults.count += 1
    if not connection.in_atomic_block:
        connection.close()
    if not is_damage(error):
        faults.unreadable = file_identity()
        return None
    damage = IndexDamagedError(path(), None, damage_text(error))
    faults.damage = identity_at(path()), damage
    return damage


def is_damage(error: Exception) -> bool:
    """Return whether SQLite complains of a damaged file, and not of a lock or a full disk."""
    return code_of(error) in DAMAGED


def code_of(error: Exception) -> int:
    """Return SQLite's result code, without the rest of it, which says what kind of I/O error it was."""
    code: int = getattr(error.__cause__, "sqlite_errorcode", 0)
    return code & 0xFF


def storage_problem(error: OperationalError) -> StorageFull | Unavailable:
    """Return the problem for what SQLite complains of."""
    full = getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return StorageFull() if full else Unavailable("The index of the users cannot be written. Try again.")


def message_of(error: DatabaseError | APIException) -> str | None:
    """Return what to tell whoever runs a command of what stopped it; `None` where it is a fault of the program."""
    if isinstance(error, APIException):
        return str(error)
    if is_damage(error):
        return f"{path()}: {damage_text(error)}"
    if isinstance(error, OperationalError):
        return f"{path()}: {error}" if settings.RECORD else str(error).strip()
    return None


def damage_text(error: DatabaseError) -> str:
    """Return what to do about a damaged index, and what that costs."""
    return (
        f"The index is damaged ({error}). Stop the service, move this file and those of its name with -wal and -shm "
        f"away, and start the service: it makes the index of {settings.RECORD}. If that is as the service last wrote "
        "it, nothing is lost. If it is an older copy, nobody knows then which ids were given and whose sessions ended "
        "since: see `Restoring users` in docs/operations.md first."
    )


def position() -> Position | None:
    """Return what the index reflects; `None` where it reflects nothing yet."""
    try:
        return Position.objects.filter(pk=POSITION).first()
    except DatabaseError as exc:
        check_unreadable(exc)
        return None


def check_unreadable(error: DatabaseError) -> None:
    """Raise the error again, but where tables are of another version; `IndexDamagedError` where that is why.

    Anything else, a lock say, is no reason to make the index anew.
    """
    damage = note_fault(error)
    if damage:
        raise damage from error
    if isinstance(error, OperationalError) and "no such" not in str(error):
        raise error


def known(ids: Iterable[int] | None = None) -> dict[int, User | Deletion]:
    """Return the users, with their rights alone, and the deletions, all or of these ids; `{}` where it has no such."""
    users: QuerySet[User] = QuerySet(User).only(*RIGHTS)
    deletions: QuerySet[Deletion] = QuerySet(Deletion)
    wanted = None if ids is None else set(ids)
    if wanted is not None and len(wanted) <= BATCH:
        users, deletions = users.filter(pk__in=wanted), deletions.filter(pk__in=wanted)
    try:
        found: list[User | Deletion] = [*users, *deletions]
    except DatabaseError as exc:
        check_unreadable(exc)
        return {}
    return {entry.pk: entry for entry in found if wanted is None or entry.pk in wanted}


def schema_is_current() -> bool:
    """Return whether the tables are exactly those of the migrations that this program has."""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(cast("Any", executor.loader.graph.leaf_nodes()))
        unknown = set(executor.loader.applied_migrations) - set(executor.loader.disk_migrations or ())
    except DatabaseError as exc:
        check_unreadable(exc)
        return False
    return not plan and not unknown


def make() -> None:
    """Make the index anew, empty. Connections to the old one keep its files, now without names, to themselves."""
    connection.close()
    for suffix in ("", "-wal", "-shm", "-journal"):
        path().with_name(path().name + suffix).unlink(missing_ok=True)
    path().touch(mode=0o600)  # SQLite gives its other files the same mode
    call_command("migrate", verbosity=0, interactive=False)


@contextmanager
def durable() -> Iterator[None]:
    """Commit so that a power cut does not take it back, as it may take other commits here.

    Without that the index could be of a record that another one has replaced, and not tell a torn line from a lost one.
    """
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous=FULL")
    try:
        with transaction.atomic():
            yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=NORMAL")


def put(entries: Iterable[Entry], model: type[Entry]) -> None:
    """Write the entries, all of that model, over what is stored under their ids. Raises `IntegrityError`."""
    fields = [field.name for field in model._meta.concrete_fields if not field.primary_key]  # noqa: SLF001  # Django's documented _meta
    # A plain QuerySet: the model's own refuses this.
    cast("QuerySet[models.Model]", QuerySet(model)).bulk_create(
        cast("list[models.Model]", list(entries)),
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["pk"],
        update_fields=fields,
    )


def taken(entry: Entry, error: IntegrityError) -> str:
    """Return which of the user's two unique fields another has, by the database's complaint, and who."""
    name = "email" if "users_email" in str(error) else "username"
    owner = User.objects.lowered(name, getattr(entry, name)).values_list("pk", flat=True).first()
    return f"{name} is another user's: user {owner}"


def insert(entries: Iterable[Entry], model: type[Entry]) -> None:
    """Write the entries, all of that model and new. Raises `IntegrityError` where one is stored already."""
    cast("QuerySet[models.Model]", QuerySet(model)).bulk_create(
        cast("list[models.Model]", list(entries)), batch_size=BATCH
    )


def delete(user_id: int) -> None:
    """Take the user out of the users, with the admin's log of what that user did."""
    QuerySet(User).filter(pk=user_id).delete()


def forget_changes(user_id: int) -> int:
    """Delete the user's changes but the newest `HISTORY` of each kind; return how many there were."""
    changes = UserChange.objects.filter(user_id=user_id, action=UserChange.Action.CHANGED).order_by("-pk")
    if changes.count() <= HISTORY:
        return 0
    found = list(surplus(changes))
    UserChange.objects.filter(pk__in=found).delete()
    return len(found)


def surplus(changes: Iterable[UserChange]) -> Iterator[int]:
    """Yield the ids of the changes, of which the newest come first, that are more than the `HISTORY` of their kind."""
    count = Counter[tuple[int, str]]()
    for change in changes:
        if change.action == UserChange.Action.CHANGED:
            count[change.kind] += 1
            if count[change.kind] > HISTORY:
                yield change.pk


def replace(users: Iterable[User], deletions: Iterable[Deletion], changes: Iterable[UserChange]) -> None:
    """Write these over all that is stored. Raises `IntegrityError`."""
    with connection.cursor() as cursor:
        for model in (User, Deletion, UserChange):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(model._meta.db_table)}")  # noqa: S608, SLF001  # our table
    put(users, User)
    put(deletions, Deletion)
    put(changes, UserChange)
    LogEntry.objects.exclude(user__in=User.objects.values("pk")).delete()


def save_position(
    *, identity: str, offset: int, lines: int, digest: str, live: int | None = None, generation: str | None = None
) -> None:
    """Say what the index reflects from now on; counts what is live where that is not said."""
    Position(
        pk=POSITION,
        identity=identity,
        offset=offset,
        lines=lines,
        digest=digest,
        live=sum(model.objects.count() for model in (User, Deletion, UserChange)) if live is None else live,
        generation=generation or uuid4().hex,
    ).save()


def ids() -> set[int]:
    """Return the ids that users have, and those that deleted ones had."""
    return {*User.objects.values_list("pk", flat=True), *Deletion.objects.values_list("pk", flat=True)}


def last_id() -> int:
    """Return the highest id ever used."""
    return max(largest(User, "pk"), largest(Deletion, "pk"))


def next_id() -> int:
    """Return the id after every one ever used. Raises `StorageFull`."""
    return following(last_id())


def next_change_id() -> int:
    """Return the id after that of every entry of a history. Raises `StorageFull`."""
    return following(largest(UserChange, "pk"))


def last_end() -> int:
    """Return the highest number that an end of sessions ever had."""
    return max(largest(User, "sessions_ended_seq"), largest(Deletion, "sessions_ended_seq"))


def next_sessions_ended_seq() -> int:
    """Return the number after every one that an end of sessions ever had. Raises `StorageFull`."""
    return following(last_end())


def following(number: int) -> int:
    """Return the number after that one; raise `StorageFull` where no line can hold it."""
    if number >= LARGEST:
        raise NumbersExhausted(f"Nothing can be numbered after {LARGEST}, which is in use. Nothing was changed.")
    return number + 1


def largest(model: type[Entry], field: str) -> int:
    """Return the largest value of the field, 0 where there is none."""
    found: int | None = QuerySet(model).aggregate(largest=Max(field))["largest"]
    return found or 0
