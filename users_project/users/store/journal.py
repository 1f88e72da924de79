"""The store in a file: users.jsonl is the truth, an index beside it answers queries.

Three rules. The record is append-only: a line is one version of a user. Readers never write it: an incomplete last line
does not exist yet, and the next writer truncates it. The index is disposable, the marks are not.

Crash recovery. A write holds the lock, changes the index inside of a transaction, appends the line, waits until it is
on disk, commits. After a crash the record ends with a torn line (truncated by the next writer), or has a line that the
index lacks (applied by the next request), or both agree. Several lines at once, as of an import, and a compaction go
into a new file that is renamed over the record; after a crash it is the old file or the new one, and a new one is read
as a whole. See `reading` and `compaction`.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from django.db import DatabaseError, connection, transaction

from chassis.databases import Meaning, StorageFull, meaning_of
from chassis.locks import FileLock
from chassis.problems import Unavailable
from users.models import Entry, Position

from . import compaction, index, marks, reading, record, tables
from .codec import encode
from .record import Extent, StoreError
from .writer import TIMEOUT, Writer

log = logging.getLogger(__name__)

# Superseded lines from which a compaction is due, if they are also more than the others.
COMPACT_FROM = 1000
# Seconds that a start waits for another one, which may have to read a large record.
START_TIMEOUT = 60.0
# Seconds after which a write also renews the marks, so that they recognize a restored copy without an index, and
# compacts the record if that is due.
TIDY_EVERY = 60.0


class Journal:
    """One record and its index. A process has one, which remembers what it last found to be current."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FileLock(path.with_suffix(".jsonl.lock"), TIMEOUT)
        self._fresh: tuple[str, tuple[int, int] | None] | None = None
        self._is_open = False  # whether the index has the tables of this program
        self._tidied_at = -math.inf

    def open(self) -> None:
        """Make the index reflect the record. Raises `StoreError` if it cannot be read and there is no usable index."""
        index.leave_replaced_file()
        with self.lock.held(START_TIMEOUT):
            try:
                self._bring_up()
            except DatabaseError as exc:
                if meaning_of(exc) is not Meaning.FULL or not index.position():
                    raise
                log.warning("%s: cannot be updated, and is used as it is: %s", index.path(), exc)

    def catch_up(self) -> None:
        """Make the index reflect the record; microseconds if nothing changed.

        While another request or process reads or writes the record, the disk is full or a line cannot be read, the last
        good index answers. Raises `StoreError`, `Unavailable` or `DatabaseError` if there is none.
        """
        index.leave_replaced_file()
        seen = record.identity(self.path), index.file_identity()
        if seen[1] and self._fresh == seen:
            return
        position = index.position()
        if self._is_open and position and position.identity == seen[0]:
            self._fresh = seen
            return
        try:
            with self.lock.held(0 if position else None):
                self._bring_up()
        except (Unavailable, DatabaseError) as exc:
            if not position or (isinstance(exc, DatabaseError) and meaning_of(exc) is not Meaning.FULL):
                raise
            if isinstance(exc, (StoreError, DatabaseError)):  # else another process, which reads it or writes
                self._fresh = seen  # not again for each request: a change of the file is a reason to look again

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the only writer. Raises `StorageFull`, `Unavailable`, `StoreError`; nothing is stored then."""
        if connection.in_atomic_block:
            raise RuntimeError("Users cannot be written inside of a transaction: the record does not roll back.")
        index.leave_replaced_file()
        with self.lock.held():
            position = self._truncate_torn_tail(self._bring_up())
            before, written = position.offset, ""
            writer = Writer(lambda last_id: marks.reserve(self.path, last_id))
            try:
                with transaction.atomic():
                    yield writer
                    if writer.entries:
                        extent, written = self._put_on_disk(position, writer.entries)
                        ids = position.ids + writer.new_ids
                        position = tables.save_position(identity=written, **asdict(extent), ids=ids)
            except BaseException:
                self._take_back(before, written)
                raise
            if writer.entries:
                self._fresh = written, index.file_identity()
                self._after_write(position)

    def versions(self, user_id: int) -> Iterator[Entry]:
        return compaction.versions(self.path, user_id)

    def verify(self) -> Position:
        """Read the whole record and rebuild the index. Raises `StoreError`; the index stays as it is then."""
        index.leave_replaced_file()
        with self.lock.held():
            position = index.position() if index.schema_is_current() else None
            return reading.read_all(self.path, position, record.identity(self.path))

    def _bring_up(self) -> Position:
        """Make the index reflect the record. The caller holds the lock."""
        position, identity = index.position(), record.identity(self.path)
        if position and not self._is_open and not index.schema_is_current():
            log.warning("%s: has tables of another version; it is rebuilt from the record", index.path())
            position = None
        if position is None or position.identity != identity:
            try:
                position = reading.read(self.path, position, identity)
            except StoreError as exc:
                log.error("%s", exc)  # noqa: TRY400  # the file is at fault, not the code
                raise
        self._is_open = True
        self._fresh = identity, index.file_identity()
        return position

    def _truncate_torn_tail(self, position: Position) -> Position:
        lost = record.size(self.path) - position.offset
        if lost <= 0:
            return position
        log.warning("%s: the last line was incomplete; %d bytes truncated at %d", self.path, lost, position.offset)
        record.truncate(self.path, position.offset)
        return tables.save_position(identity=record.identity(self.path))

    def _put_on_disk(self, position: Position, entries: list[Entry]) -> tuple[Extent, str]:
        """Store the entries as lines: one is appended, several are written with the others into a new file."""
        lines = [encode(entry) for entry in entries]
        try:
            if len(lines) == 1:
                extent = reading.extent_of(position).after(lines[0])
                return extent, record.append(self.path, position.identity, lines[0])
            stored = (line for _, line in record.read_lines(self.path)) if position.offset else ()
            return record.replace(self.path, position.identity, chain(stored, lines))
        except OSError as exc:
            log.error("%s: cannot be written: %s", self.path, exc)  # noqa: TRY400  # the disk is at fault
            raise (StorageFull() if exc.errno in record.FULL else Unavailable()) from exc

    def _take_back(self, offset: int, written: str) -> None:
        """Truncate what was written if the index could not follow, unless an editor has changed the record since.

        What stays is applied by the next request.
        """
        self._fresh = None
        with suppress(OSError):
            if written and record.identity(self.path) == written:
                record.truncate(self.path, offset)

    def _after_write(self, position: Position) -> None:
        """Do what is due now and then. A failure changes nothing for the client, whose write is stored."""
        if time.monotonic() - self._tidied_at < TIDY_EVERY:
            return
        self._tidied_at = time.monotonic()
        try:
            marks.note(self.path, reading.extent_of(position))
            if position.lines - position.ids > max(position.ids, COMPACT_FROM):
                position = compaction.compact(self.path, position)
                self._fresh = position.identity, index.file_identity()
        except (OSError, DatabaseError, Unavailable) as exc:
            log.warning("%s: cannot be compacted: %s", self.path, exc)
