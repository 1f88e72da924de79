"""Reading the record into the index: the lines that it lacks, or all of them.

If the record begins with what the index reflects, the lines behind that are applied, as changes by the API would be.
Otherwise the record is read as a whole and compared with the index. If something known is missing, older or different,
an older copy was restored or a line edited in place: a new generation begins, new ids are above every one that was
given, and the gateway ends all sessions.
"""

import logging
import os
from dataclasses import asdict, replace
from pathlib import Path

from django.db import IntegrityError, transaction

from users.models import Entry, Position

from . import index, marks, record, tables
from .codec import BadLineError, decode
from .errors import StoreError
from .marks import Marks
from .record import Extent
from .replay import Replay, follow, went_back

log = logging.getLogger(__name__)

# Bytes behind what the index reflects that are applied line by line; of more, the whole record is read at once.
MAX_TAIL = 256 * 1024


def extent_of(position: Position | None) -> Extent:
    """Return how much of the record the index reflects."""
    return Extent(position.offset, position.lines, position.digest) if position else Extent()


def read(path: Path, position: Position | None, identity: str) -> Position:
    """Make the index, which reflects `position`, reflect the record. The caller holds the lock. Raises `StoreError`."""
    if position and position.ids and not record.size(path):
        raise _lost(path)
    if position and is_continued(path, position):
        return _read_tail(path, position, identity)
    return read_all(path, position, identity)


def is_continued(path: Path, position: Position) -> bool:
    """Return whether the record begins with what the index reflects, and not much more follows."""
    known, size = extent_of(position), record.size(path)
    return size - known.offset <= MAX_TAIL and (not size or record.begins_with(path, known))


def _read_tail(path: Path, position: Position, identity: str) -> Position:
    extent, ids, last_id = extent_of(position), position.ids, 0
    with transaction.atomic():
        for reached, line in record.read_lines(path, extent) if identity else ():
            extent = reached
            if line.strip():
                entry, is_first = _apply(path, reached.lines, line)
                ids, last_id = ids + is_first, max(last_id, entry.id)
        if last_id:
            _sync(path)
            marks.reserve(path, last_id)
        return tables.save_position(identity=identity, **asdict(extent), ids=ids)


def _apply(path: Path, number: int, line: bytes) -> tuple[Entry, bool]:
    try:
        entry = decode(line)
        before = tables.entry_of(entry.id)
        entry = follow(before, entry, tables.last_end())
        with transaction.atomic():
            tables.put(entry)
    except BadLineError as exc:
        raise _refused(path, number, str(exc)) from exc
    except IntegrityError as exc:
        name = "email" if "users_email" in str(exc) else "username"
        raise _refused(path, number, f"the {name} is taken by another user") from exc
    return entry, before is None


def read_all(path: Path, position: Position | None, identity: str) -> Position:
    """Make the index of the whole record. `position` is what it reflects so far, if it can be used."""
    found = marks.read(path)
    replay, extent, has_checkpoint = Replay(), Extent(), not (found and found.offset)
    for extent, line in record.read_lines(path) if identity else ():
        has_checkpoint |= found is not None and (extent.offset, extent.digest) == (found.offset, found.digest)
        if line.strip():
            try:
                replay.take(extent.lines, decode(line))
            except BadLineError as exc:
                raise _refused(path, extent.lines, str(exc)) from exc
    is_changed = went_back(tables.entries(), replay.entries) if position else not has_checkpoint
    # A file that has all the index has may be a compacted one with the inode of the one before, and a torn tail.
    is_same_file = position is not None and record.is_same_file(position.identity, identity)
    if position and is_changed and is_same_file and extent.offset < min(position.offset, record.size(path)):
        raise _refused(path, extent.lines + 1, "the line is incomplete, but it was complete before")
    if not replay.entries and ((position and position.ids) or (found and found.offset)):
        raise _lost(path)
    _sync(path)
    current = _marks_after(path, found, replay, is_changed=is_changed, has_index=position is not None)
    marks.write(path, replace(current, offset=extent.offset, digest=extent.digest))
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


def _marks_after(path: Path, found: Marks | None, replay: Replay, *, is_changed: bool, has_index: bool) -> Marks:
    if found is None:
        if not replay.entries:
            return Marks.first()
        log.warning("%s: missing; ids jump and all sessions end", marks.path_of(path))
        return Marks.first().renewed(replay.last_id + marks.JUMP)
    if is_changed:
        log.warning("%s: is an older copy or was edited in place; all sessions end", path)
        return found.renewed(replay.last_id)
    if not has_index:
        found = replace(found, floor=max(found.floor, found.last_id))
    return replace(found, last_id=max(found.last_id, replay.last_id))


def _sync(path: Path) -> None:
    """Wait until the record is on disk: a writer that was killed may not have."""
    if record.identity(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        record.sync_directory(path.parent)


def _lost(path: Path) -> StoreError:
    return StoreError(
        path,
        None,
        "It is empty or missing, but there were users. Put it back, or a backup of it. To begin without users, "
        f"delete {marks.path_of(path).name} and {index.path().name} too.",
    )


def _refused(path: Path, line: int, reason: str) -> StoreError:
    return StoreError(path, line, f"{reason}. Correct that line, or put a backup of the file back.")
