"""The store in a file: users.jsonl is the truth, an index beside it answers queries.

Three rules. The record is append-only: a line is one version of a user. Readers never write it: an incomplete last line
does not exist yet, and the next writer cuts it off. The index is disposable, the marks are not.

Crash recovery. A write holds the lock, changes the index inside of a transaction, appends the line, waits until it is
on disk, commits. After a crash the record ends with a torn line (cut by the next writer), or has a line that the index
lacks (applied at the next look), or both agree. Several lines at once, as of an import, and a compaction go into a new
file that is renamed over the record; after a crash it is the old file or the new one, and a new one is read as a whole.

Read as a whole, the record is compared with the index. If something known is missing, older or different, an older copy
was restored or a line edited in place: a new generation begins, new ids are above every one that was given, and the
gateway ends all sessions.
"""

import json
import logging
import math
import mmap
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

from django.db import DatabaseError, IntegrityError, connection, transaction

from chassis.databases import Meaning, StorageFull, meaning_of
from chassis.problems import Unavailable
from users.models import Entry, Position, User

from . import index, marks, record, tables
from .codec import BadLineError, decode, encode
from .errors import StoreError
from .lock import TIMEOUT, WriterLock
from .marks import Marks
from .record import Extent
from .replay import Replay, follow, went_back
from .writer import Writer

log = logging.getLogger(__name__)

# Superseded lines before a compaction, if they are also more than the others.
COMPACT_FROM = 1000
# Bytes behind what the index reflects that are applied line by line; of more, the whole record is read at once.
MAX_TAIL = 256 * 1024
# Seconds that a start waits for another one, which may have to read a large record.
START_TIMEOUT = 60.0
# Seconds after which a write also renews the marks, so that they recognise a restored copy without an index.
MARK_EVERY = 60.0


class Journal:
    """One record and its index. A process has one, which remembers what it last found to be current."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = WriterLock(path.with_suffix(".jsonl.lock"))
        self.marks_path = path.with_suffix(".marks.json")
        self.history_path = path.with_suffix(".history.jsonl")
        self._fresh: tuple[str, tuple[int, int] | None] | None = None
        self._reported: tuple[str, str] | None = None  # the record and the error that was logged last
        self._is_open = False  # whether the index has the tables of this program
        self._marked_at = -math.inf
        self._compact_from = 0
        self._written = ""  # what the record was after this write, which is not committed yet

    def open(self) -> None:
        """Make the index reflect the record. Raises `StoreError` if it cannot be read and there is no usable index."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):  # another user's directory
            self.path.parent.chmod(0o700)
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

        If the record cannot be read, another process is writing or the disk is full, the last good index goes on
        answering. Raises `StoreError`, `Unavailable` or `DatabaseError` if there is none.
        """
        index.leave_replaced_file()
        seen = record.identity(self.path), index.file_identity()
        if seen[1] and self._fresh == seen and not index.is_doubted(seen[1]):
            return
        position = index.position()
        if self._is_open and position and position.identity == seen[0]:
            self._fresh = seen
            return
        try:
            with self.lock.held(timeout=0 if position else TIMEOUT):
                self._bring_up()
        except (Unavailable, DatabaseError) as exc:
            if not position or (isinstance(exc, DatabaseError) and meaning_of(exc) is not Meaning.FULL):
                raise
            self._fresh = seen  # not again for each request: a change of the file is a reason to look again

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the only writer. Raises `StorageFull`, `Unavailable`, `StoreError`; nothing is stored then."""
        if connection.in_atomic_block:
            raise RuntimeError("Users cannot be written inside of a transaction: the record does not roll back.")
        index.leave_replaced_file()
        with self.lock.held():
            position = before = self._cut_torn_tail(self._bring_up())
            writer = Writer(self._reserve)
            self._written = ""
            try:
                with transaction.atomic():
                    yield writer
                    if writer.floor:
                        self._raise_floor(writer.floor)
                    if writer.entries:
                        position = self._store(position, writer)
            except BaseException:
                self._take_back(before.offset)
                raise
            if writer.entries:
                self._fresh = position.identity, index.file_identity()
                self._after_write(position)

    def versions(self, user_id: int) -> Iterator[Entry]:
        """Yield every version of the user that is stored, oldest first. Superseded ones have no password."""
        seen = set()
        for path in (self.history_path, self.path):
            for line in _lines_of_user(path, user_id):
                with suppress(BadLineError):
                    entry = decode(line, with_password=path is self.path)
                    blanked = encode(entry, with_password=False)
                    if entry.id == user_id and blanked not in seen:
                        seen.add(blanked)
                        yield entry

    def compact(self) -> int:
        """Move superseded lines to the history, without passwords; return how many. The caller holds no lock."""
        with self.lock.held():
            return self._compact(self._bring_up())

    def verify(self) -> Position:
        """Read the whole record and make the index again. Raises `StoreError`; the index stays as it is then."""
        index.leave_replaced_file()
        with self.lock.held():
            position = index.position() if index.schema_is_current() else None
            return self._read_all(position, record.identity(self.path))

    # Reading the record.

    def _bring_up(self) -> Position:
        """Make the index reflect the record, holding the lock."""
        position = index.position()
        identity = record.identity(self.path)
        if self._is_open and position and position.identity == identity:
            self._fresh = identity, index.file_identity()
            return position
        if position and not self._is_open and not index.schema_is_current():
            log.warning("%s: has tables of another version; it is made again from the record", index.path())
            position = None
        try:
            position = self._read(position, identity)
        except (StoreError, OSError) as exc:
            error = exc if isinstance(exc, StoreError) else StoreError(self.path, None, f"{exc.strerror or exc}.")
            if self._reported != (identity, str(error)):
                log.error("%s", error)  # noqa: TRY400  # the file is at fault, not the code
            self._reported = identity, str(error)
            raise error from exc
        self._is_open = True
        self._fresh = identity, index.file_identity()
        return position

    def _read(self, position: Position | None, identity: str) -> Position:
        known = _extent_of(position) if position else Extent()
        size = record.size(self.path)
        if position and position.ids and not size:
            raise self._lost()
        if position and size - known.offset <= MAX_TAIL and (not size or record.begins_with(self.path, known)):
            return self._read_tail(position, known, identity)
        return self._read_all(position, identity)

    def _read_tail(self, position: Position, extent: Extent, identity: str) -> Position:
        """Apply the lines that the index lacks, as changes by the API would be."""
        ids, last_id, is_new = position.ids, 0, False
        with transaction.atomic():
            for reached, line in record.read_lines(self.path, extent) if identity else ():
                extent = reached
                if line.strip():
                    entry, is_first = self._apply(reached.lines, line)
                    ids, last_id, is_new = ids + is_first, max(last_id, entry.id), True
            if is_new:
                self._sync()
                self._reserve(last_id)
            return tables.save_position(identity=identity, **asdict(extent), ids=ids)

    def _apply(self, number: int, line: bytes) -> tuple[Entry, bool]:
        try:
            entry = decode(line)
            before = tables.entry_of(entry.id)
            entry = follow(before, entry, tables.last_end())
            with transaction.atomic():
                tables.put(entry)
        except BadLineError as exc:
            raise self._refused(number, str(exc)) from exc
        except IntegrityError as exc:
            name = "email" if "users_email" in str(exc) else "username"
            raise self._refused(number, f"the {name} is taken by another user") from exc
        return entry, before is None

    def _read_all(self, position: Position | None, identity: str) -> Position:
        """Make the index of the whole record, and find out whether it is what was read before."""
        found = marks.read(self.marks_path)
        replay, extent, has_checkpoint = Replay(), Extent(), not (found and found.offset)
        for extent, line in record.read_lines(self.path) if identity else ():
            has_checkpoint |= found is not None and (extent.offset, extent.digest) == (found.offset, found.digest)
            if line.strip():
                try:
                    replay.take(extent.lines, decode(line))
                except BadLineError as exc:
                    raise self._refused(extent.lines, str(exc)) from exc
        is_same_file = position is not None and record.is_same_file(position.identity, identity)
        if position and is_same_file and extent.offset < min(position.offset, record.size(self.path)):
            raise self._refused(extent.lines + 1, "the line is incomplete, though it was whole before")
        if not replay.entries and ((position and position.ids) or (found and found.offset)):
            raise self._lost()
        is_changed = went_back(tables.entries(), replay.entries) if position else not has_checkpoint
        self._sync()
        current = self._marks_after(found, replay, is_changed=is_changed, has_index=position is not None).at(extent)
        marks.write(self.marks_path, current)
        if position is None:
            index.make()
        with transaction.atomic():
            tables.replace_all(replay.entries.values())
            return tables.save_position(
                identity=identity,
                **asdict(extent),
                ids=len(replay.entries),
                generation=current.generation,
                floor=current.floor,
            )

    def _marks_after(self, found: Marks | None, replay: Replay, *, is_changed: bool, has_index: bool) -> Marks:
        if found is None:
            if not replay.entries:
                return Marks.first()
            log.warning("%s: missing; ids jump and all sessions end", self.marks_path)
            return Marks.first().renewed(replay.last_id + marks.JUMP)
        if is_changed:
            log.warning("%s: is an older copy or was edited in place; all sessions end", self.path)
            return found.renewed(replay.last_id)
        if not has_index:
            found = replace(found, floor=max(found.floor, found.last_id))
        return replace(found, last_id=max(found.last_id, replay.last_id))

    def _sync(self) -> None:
        """Wait until the record is on disk: a writer that was killed may not have."""
        if record.identity(self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            record.sync_directory(self.path.parent)

    def _lost(self) -> StoreError:
        return StoreError(
            self.path,
            None,
            "It is empty or missing, but there were users. Put it back, or a backup of it. To begin without users, "
            f"delete {self.marks_path.name} and {index.path().name} too.",
        )

    def _refused(self, line: int, reason: str) -> StoreError:
        return StoreError(self.path, line, f"{reason}. Correct that line, or put a backup of the file back.")

    # Writing the record.

    def _reserve(self, last_id: int) -> None:
        """Make sure that ids up to this one are never given again."""
        current = marks.read(self.marks_path) or Marks.first()
        if last_id > current.last_id:
            marks.write(self.marks_path, replace(current, last_id=last_id + marks.BLOCK - 1))

    def _raise_floor(self, floor: int) -> None:
        """Give no later user an id up to this one."""
        current = marks.read(self.marks_path) or Marks.first()
        floor = max(floor, current.floor)
        marks.write(self.marks_path, replace(current, floor=floor, last_id=max(floor, current.last_id)))
        tables.save_position(floor=floor)

    def _cut_torn_tail(self, position: Position) -> Position:
        if record.size(self.path) <= position.offset:
            return position
        lost = record.size(self.path) - position.offset
        log.warning("%s: the last line was incomplete; cut %d bytes at byte %d", self.path, lost, position.offset)
        record.truncate(self.path, position.offset)
        return tables.save_position(identity=record.identity(self.path))

    def _store(self, position: Position, writer: Writer) -> Position:
        """Put the lines on disk, and what the index reflects then into the transaction."""
        lines = [encode(entry) for entry in writer.entries]
        try:
            if len(lines) == 1:
                extent = _extent_of(position).after(lines[0])
                identity = record.append(self.path, position.identity, lines[0])
            else:
                stored = (line for _, line in record.read_lines(self.path)) if position.offset else ()
                replaced = record.replace(self.path, position.identity, chain(stored, lines))
                extent, identity = replaced or (Extent(), None)
        except OSError as exc:
            log.error("%s: cannot be written: %s", self.path, exc)  # noqa: TRY400  # the disk is at fault
            raise (StorageFull() if exc.errno in record.FULL else Unavailable()) from exc
        if identity is None:
            raise Unavailable("The users file was edited at the same time. Read what is stored, then try again.")
        self._written = identity
        return tables.save_position(identity=identity, **asdict(extent), ids=position.ids + writer.new_ids)

    def _take_back(self, offset: int) -> None:
        """Cut off what was written if the index could not follow, and nothing else: not what an editor put there.

        What stays is applied at the next look.
        """
        self._fresh = None
        with suppress(OSError):
            if self._written and record.identity(self.path) == self._written:
                record.truncate(self.path, offset)

    def _after_write(self, position: Position) -> None:
        """Do what is due now and then. A failure changes nothing for the client, whose write is stored."""
        try:
            if time.monotonic() - self._marked_at > MARK_EVERY:
                self._marked_at = time.monotonic()
                current = marks.read(self.marks_path)
                if current:
                    marks.write(self.marks_path, current.at(_extent_of(position)))
            superseded = position.lines - position.ids
            if superseded > max(position.ids, COMPACT_FROM) and position.lines >= self._compact_from:
                self._compact(position)
        except (OSError, DatabaseError, Unavailable) as exc:
            self._compact_from = position.lines + COMPACT_FROM
            log.warning("%s: cannot be compacted: %s", self.path, exc)

    def _compact(self, position: Position) -> int:
        last: dict[int, int] = {}
        for extent, line in record.read_lines(self.path) if position.offset else ():
            if line.strip():
                last[json.loads(line)["id"]] = extent.lines
        superseded = position.lines - len(last)
        if not superseded:
            return 0
        kept = set(last.values())
        record.append_all(self.history_path, self._superseded(kept))
        derived = {
            pk: values for pk, *values in User.objects.values_list("pk", "session_epoch", "session_end", "kept_session")
        }
        replaced = record.replace(self.path, position.identity, self._kept(kept, derived))
        if replaced is None:
            raise Unavailable("The users file was edited at the same time. Try again.")
        extent, identity = replaced
        log.info("%s: compacted from %d lines to %d", self.path, position.lines, extent.lines)
        position = tables.save_position(identity=identity, **asdict(extent))
        self._fresh = position.identity, index.file_identity()
        current = marks.read(self.marks_path)
        if current:
            marks.write(self.marks_path, current.at(extent))
        return superseded

    def _superseded(self, kept: set[int]) -> Iterator[bytes]:
        for extent, line in record.read_lines(self.path):
            if line.strip() and extent.lines not in kept:
                data = json.loads(line)
                if "password" in data:
                    data["password"] = ""
                yield json.dumps(data, ensure_ascii=False).encode() + b"\n"

    def _kept(self, kept: set[int], derived: dict[int, list[object]]) -> Iterator[bytes]:
        """Yield the last line of each user, with what a line by hand had left to be worked out."""
        for extent, line in record.read_lines(self.path):
            if extent.lines not in kept:
                continue
            data = json.loads(line)
            values = [data.get(name) for name in ("session_epoch", "session_end", "kept_session")]
            is_whole = data.get("deleted") or (values == derived.get(data["id"]) and not data.get("rehash"))
            entry = None if is_whole else tables.entry_of(data["id"])
            yield encode(entry) if entry else line


def _extent_of(position: Position) -> Extent:
    return Extent(position.offset, position.lines, position.digest)


def _lines_of_user(path: Path, user_id: int) -> Iterable[bytes]:
    """Return the whole lines in which that id occurs, found without parsing the others."""
    if not record.size(path):
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in re.finditer(rb'"id"\s*:\s*%d\b' % user_id, data):
            start, end = data.rfind(b"\n", 0, match.start()) + 1, data.find(b"\n", match.end())
            if end >= 0:
                yield data[start : end + 1]
