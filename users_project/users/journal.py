"""Where users are written: the record, `users.jsonl`, is the truth; the index beside it follows in one transaction.

    with journal.writing() as changes:      # the one writer; the index is as the record is
        ...                                 # check the rules against the index
        changes.put(user)                   # or changes.remove(user, by=…)
                                            # on disk when the block is left; nothing is written where it raises

A crash leaves one of three states, and `catch_up` makes each whole: a torn line in the record (cut off), a line that
the index has not (applied), or both as they should be. A record that is not what the index was made from, whoever
changed it, is read again as a whole; what the index knew and it does not say is added to it (`latest.unsaid`).
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, reduce
from itertools import chain
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction

from chassis.problems import Unavailable

from . import index, lines, lock, record, tables
from .changes import Changes
from .latest import Latest, last_end, still_counting, told, unsaid
from .models import Deletion, Position, User, UserChange
from .record import Extent, JournalError, UnsettledError

log = logging.getLogger(__name__)

# Lines that later ones have superseded before the record is written anew, if they are more than those that count.
COMPACT_FROM = 1000
# Seconds that a start waits for another one's, which may have to read all of a large record.
START_TIMEOUT = 60.0


class Journal:
    """One record with the index beside it. Made once in each process: it remembers what is known to be fresh."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = lock.WriterLock(path.with_suffix(".jsonl.lock"))
        self.fresh: tuple[str, tuple[int, int] | None] | None = None
        self.broken: tuple[tuple[str, tuple[int, int] | None], JournalError] | None = None
        self.seen = ""  # the record that is being read: who writes it meanwhile is noticed at the next look
        self.said = "", ""  # of which record what was logged last
        self.compact_from = self.faults = 0
        self.is_open = False  # whether the index has the tables of this program

    def open(self) -> None:
        """Make the index reflect the record, with the tables of this program. Raises `JournalError`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):  # somebody else's directory, whose permissions are theirs to say
            self.path.parent.chmod(0o700)
        index.leave_lost_files(self.lock)
        deadline = time.monotonic() + START_TIMEOUT
        with self.lock.held(START_TIMEOUT):
            while True:
                try:
                    return self.bring_up_or_leave()
                except UnsettledError:
                    if time.monotonic() > deadline:
                        raise
                time.sleep(record.SETTLED / 10)

    def catch_up(self) -> None:
        """Make the index reflect the record; microseconds if nothing changed. Raises `JournalError`, `Unavailable`."""
        index.leave_lost_files(self.lock)
        if self.faults != index.faults.count:  # what is there since need not be what it was
            self.faults, self.fresh = index.faults.count, None
        identity, file = record.identity(self.path), index.file_identity()
        if file and self.fresh == (identity, file):
            return
        if self.broken and self.broken[0] == (identity, file):
            raise self.broken[1].with_traceback(None)
        position = index.position() if file else None
        if self.is_open and position and position.identity == identity:
            self.fresh = identity, file
            return
        try:
            # A writer at work sees to it, and what it has not committed yet, nobody was told.
            with self.lock.held(timeout=0 if position else lock.TIMEOUT):
                self.bring_up_or_leave()
        except Unavailable as exc:
            if isinstance(exc, JournalError) or not position:
                raise

    def bring_up_or_leave(self) -> None:
        """Make the index reflect the record, holding the lock; leave it where a full disk keeps that from being noted.

        It is left where the record is as the index says, and was only touched.
        """
        try:
            self.bring_up()
        except OperationalError:
            identity, file = record.identity(self.path), index.file_identity()
            position = index.position() if file else None
            if not (position and identity and self.is_all_of(position)):
                raise
            self.fresh = identity, file

    def is_all_of(self, position: Position) -> bool:
        """Return whether the record is what the index reflects, and no more."""
        return self.path.stat().st_size == position.offset and record.holds(self.path, extent_of(position))

    @contextmanager
    def writing(self) -> Iterator[Changes]:
        """Be the one writer. Raises `StorageFull`, `Unavailable`, `JournalError`; nothing is stored then."""
        if connection.in_atomic_block:
            raise RuntimeError("Users cannot be written inside of a transaction: the record does not roll back.")
        index.leave_lost_files(self.lock)
        with self.lock.held():
            try:
                position = self.bring_up()
            except OperationalError as exc:
                raise index.storage_problem(exc) from exc
            changes = Changes(extent_of(position), position.live)
            try:
                with transaction.atomic():
                    yield changes
                    identity = self.append(position, changes) if changes.lines else ""
            except BaseException as exc:
                self.undo(position, changes)
                if isinstance(exc, OperationalError):
                    raise index.storage_problem(exc) from exc
                raise
            if changes.lines:
                self.fresh = identity, index.connected_file()
                self.compact_if_due(changes.extent, changes.live)

    def append(self, position: Position, changes: Changes) -> str:
        """Put the lines on disk, say in the transaction under way that the index has them; return the identity then."""
        identity = record.append(self.path, position.identity, b"".join(changes.lines))
        index.save_position(
            identity=identity, **vars(changes.extent), live=changes.live, generation=position.generation
        )
        return identity

    def undo(self, position: Position, changes: Changes) -> None:
        """Take back what was appended, as the index could not follow; what cannot be is applied at the next look."""
        self.fresh = None
        if changes.lines and record.identity(self.path) != position.identity:
            with suppress(OSError):
                if record.holds(self.path, extent_of(position)):
                    record.take_back(self.path, position.offset, b"".join(changes.lines))

    def bring_up(self) -> Position:
        """Make the index reflect the record, holding the lock, and return its position."""
        position = index.position() if index.file_identity() else None
        outdated = not (self.is_open and position) and not index.schema_is_current()
        if position is None or outdated or position.identity != record.identity(self.path):
            try:
                self.read(position, outdated=outdated)
            except (JournalError, OSError) as exc:
                error = exc if isinstance(exc, JournalError) else JournalError(self.path, None, str(exc))
                passes = (
                    isinstance(exc, (UnsettledError, index.IndexDamagedError))
                    or getattr(exc, "errno", None) in record.FULL
                )
                # What the system refuses now, it may grant at the next look, with the same file.
                if isinstance(exc, JournalError) and not passes:
                    self.broken = (self.seen, index.file_identity()), error
                if self.said != (self.seen, str(error)):  # not again with each request
                    log.log(logging.WARNING if passes else logging.ERROR, "%s", error)
                self.said = self.seen, str(error)
                raise error from exc
            position = Position.objects.get(pk=index.POSITION)
        self.broken, self.said, self.is_open = None, ("", ""), True
        self.fresh = position.identity, index.connected_file()
        return position

    def read(self, position: Position | None, *, outdated: bool) -> None:
        """Read what the index has not: the lines after it, or all where the record is not the one it was made from.

        An `outdated` index has tables of another version, and is made anew once the record is known to be good.
        """
        self.seen = record.identity(self.path)
        record.check_file(self.path)
        if not self.seen or not self.path.stat().st_size:
            return self.read_nothing(position, outdated=outdated)
        record.restrict(self.path)
        record.take_back_part(self.path)
        self.seen = record.identity(self.path)
        known = extent_of(position) if position else Extent()
        # Only what was never known to be whole can be what a crash left of an append.
        grown = record.holds(self.path, known)
        record.settle(self.path, may_cut=grown)
        self.seen = record.identity(self.path)
        follows = position if grown and not outdated else None
        reached, extent, entries = self.entries_after(known if follows else Extent())
        if not (follows or entries) and position and position.live:
            raise record.lost_error(self.path)
        if extent != reached:
            self.cut_histories(extent, reached, may_cut=grown)
            return self.read(position, outdated=outdated)
        # Who was killed may not have come to it, and what is in the index is told.
        record.sync(self.path)
        if follows:
            return self.follow(entries, extent, follows)
        return self.follow_anew(entries, extent, outdated=outdated)

    def entries_after(self, extent: Extent) -> tuple[Extent, Extent, list[tuple[int, lines.Entry]]]:
        """Return the extent of all lines, that without histories of nothing at the end, and its entries after this one.

        With each entry comes the number of its line.
        """
        entries: list[tuple[int, lines.Entry]] = []
        whole = reached = extent
        known = 0
        for reached, line in record.lines_after(self.path, extent):
            if line.strip():  # an editor may leave an empty line
                entries.append((reached.lines, self.parse(reached.lines, line)))
                if isinstance(entries[-1][1], UserChange):
                    continue
            elif len(entries) > known:
                continue
            whole, known = reached, len(entries)
        return reached, whole, entries[:known]

    def follow(self, entries: list[tuple[int, lines.Entry]], extent: Extent, position: Position) -> None:
        """Apply the entries, which stand after those that the index has."""
        latest = self.latest(entries)
        after = latest.ends()
        missing = unsaid(index.known(after), after, max(index.last_end(), last_end(after.values())))
        with transaction.atomic():
            self.apply(entries)
            if missing:
                extent, added = self.add(missing)
                self.apply(added)
            index.save_position(identity=self.seen, **vars(extent), generation=position.generation)

    def follow_anew(self, entries: list[tuple[int, lines.Entry]], extent: Extent, *, outdated: bool) -> None:
        """Make the index of the entries alone, but for what it knew and they do not say."""
        latest = self.latest(entries)
        known, after = index.known(), latest.ends()
        missing = unsaid(known, after, last_end(chain(known.values(), after.values())))
        if missing:
            extent, added = self.add(missing)
            for _, entry in added:
                latest.put(entry)
        if outdated:
            index.make()
        with index.durable():
            index.replace(latest.users.values(), latest.deletions.values(), latest.kept_changes().values())
            index.save_position(identity=self.seen, **vars(extent))

    def add(self, missing: list[User | Deletion]) -> tuple[Extent, list[tuple[int, lines.Entry]]]:
        """Write the record anew with these lines at its end; return its extent, and the new entries.

        Not while somebody may be in the middle of saving it: what they have not written yet would be lost.
        """
        record.check_settled(self.path)
        log.warning("%s: was edited or restored; by it %s", self.path, told(missing))
        added = [lines.dump(entry) for entry in missing]
        kept = (line for _, line in record.lines_after(self.path, Extent()))
        extent = record.replace(self.path, self.seen, chain(kept, added))
        self.seen = record.identity(self.path)
        first = extent.lines - len(added) + 1
        # As the lines say: a time, for one, has fewer digits there.
        return extent, list(enumerate(map(lines.parse, added), first))

    def cut_histories(self, whole: Extent, extent: Extent, *, may_cut: bool) -> None:
        """Cut the histories at the end off: a crash took the line of what they tell."""
        if not may_cut:
            raise JournalError(
                self.path,
                extent.lines,
                f"The last line is of a history, and what it tells of is missing. {record.PUT_BACK}",
            )
        record.check_settled(self.path)
        log.warning("%s: the last append was torn; cut it off at byte %d", self.path, whole.offset)
        record.cut(self.path, whole.offset)

    def read_nothing(self, position: Position | None, *, outdated: bool) -> None:
        """Begin without users; raise `JournalError` if there were some: the record is lost then, or being saved."""
        if position and position.live:
            raise record.lost_error(self.path)
        if outdated:
            index.make()
        with index.durable():
            index.save_position(identity=record.identity(self.path), **vars(Extent()))

    def parse(self, number: int, line: bytes) -> lines.Entry:
        """Return the entry of the line of that number; raise `JournalError`."""
        try:
            return lines.parse(line)
        except lines.BadLineError as exc:
            raise record.refused(self.path, number, str(exc)) from exc

    def latest(self, entries: list[tuple[int, lines.Entry]]) -> Latest:
        """Return what the entries leave; raise `JournalError`."""
        latest = Latest()
        for number, entry in entries:
            try:
                latest.take(number, entry)
            except lines.BadLineError as exc:
                raise record.refused(self.path, number, str(exc)) from exc
        return latest

    def apply(self, entries: Iterable[tuple[int, lines.Entry]]) -> None:
        """Apply the entries, in their order, to the index."""
        for number, entry in entries:
            if isinstance(entry, Deletion):
                index.delete(entry.pk)
            elif isinstance(entry, User) and Deletion.objects.filter(pk=entry.pk).exists():
                raise record.refused(self.path, number, f"user {entry.pk} was deleted before")
            try:
                with transaction.atomic():
                    index.put([entry], type(entry))
            except IntegrityError as exc:
                raise record.refused(self.path, number, index.taken(entry, exc)) from exc
            if isinstance(entry, UserChange):
                index.forget_changes(entry.user_id)

    def compact_if_due(self, extent: Extent, live: int) -> None:
        """Write the record anew, without superseded lines, where those are most of it. A failure changes nothing."""
        if extent.lines - live <= max(live, COMPACT_FROM) or extent.lines < self.compact_from:
            return
        try:
            self.compact()
        except (OSError, OperationalError, Unavailable) as exc:
            # It reads and writes all of the record: not again for each of the next writes.
            self.compact_from = extent.lines + COMPACT_FROM
            log.warning("%s: cannot be compacted: %s", self.path, exc)

    def compact(self) -> Extent:
        """Write the record anew, holding the lock, and say so in the index, which stays as it is; return its extent.

        Raises `OSError`, `OperationalError`, `UnsettledError`; the record is as it was then.
        """
        position = Position.objects.get(pk=index.POSITION)
        if not position.lines:
            return extent_of(position)
        history = set(UserChange.objects.values_list("pk", flat=True))
        kept = still_counting((line for _, line in record.lines_after(self.path, Extent())), history)
        said = f"{self.path}: compacted from {position.lines} lines to {len(kept)}"
        try:
            with index.durable():
                extent = record.replace(self.path, position.identity, kept)
                index.save_position(
                    identity=record.identity(self.path),
                    **vars(extent),
                    live=position.live,
                    generation=position.generation,
                )
        except (OSError, OperationalError) as exc:
            if record.identity(self.path) == position.identity:
                raise
            log.warning("%s, and that is not noted: %s; it is read again", said, exc)
            return reduce(Extent.after, kept, Extent())
        self.fresh = record.identity(self.path), index.connected_file()
        log.info("%s", said)
        return extent


def extent_of(position: Position) -> Extent:
    """Return how much of the record the index reflects."""
    return Extent(position.offset, position.lines, position.digest)


@cache
def journal_at(path: Path) -> Journal:
    """Return the process's one journal of that record."""
    return Journal(path)


def current() -> Journal | None:
    """Return the journal of the settings; `None` where the users are in PostgreSQL, see `tables`."""
    return journal_at(settings.RECORD) if settings.RECORD else None


def open_record() -> None:
    """Make the index reflect the record; for a start. Raises `JournalError`, `ImproperlyConfigured`."""
    journal = current()
    if journal:
        journal.open()
    else:
        tables.open_tables()


def catch_up() -> None:
    """Make the index reflect the record; before reading. Raises `JournalError`, `Unavailable`."""
    journal = current()
    if journal:
        journal.catch_up()


@contextmanager
def writing() -> Iterator[Changes]:
    """Be the one writer; see `Changes`. Raises `StorageFull`, `Unavailable`, `JournalError`; nothing is stored then."""
    journal = current()
    with journal.writing() if journal else tables.writing() as changes:
        yield changes
