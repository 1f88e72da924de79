"""Reading the record into the index: as a whole, if it has other lines than the index reflects.

If the record begins with what the index reflects, the lines behind that act as changes by the API would. Without an
index, the marks have what it has to begin with. Otherwise the record is compared with the index. If something known is
missing, older or different, an older copy was restored or a line edited in place: a new generation begins, new ids are
above every one that was given, and the gateway ends all sessions.
"""

import logging
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path

from django.db import transaction

from users.models import Position

from . import index, marks, record, tables
from .codec import BadLineError, decode
from .marks import Marks
from .record import Extent, StoreError
from .replay import Replay, went_back

log = logging.getLogger(__name__)


def extent_of(position: Position) -> Extent:
    """Return how much of the record the index reflects."""
    return Extent(position.offset, position.lines, position.digest)


def read(path: Path, position: Position | None, identity: str) -> Position:
    """Make the index, which reflects `position`, reflect the record. The caller holds the lock. Raises `StoreError`."""
    try:
        if position and identity:  # a torn tail may have come or gone: a tenth of the time of reading all
            last = deque(record.read_lines(path), maxlen=1)
            if last and last[0][0] == extent_of(position):
                return tables.save_position(identity=identity)
        return read_all(path, position, identity)
    except OSError as exc:
        raise StoreError(path, None, f"{exc.strerror or exc}.") from exc


def read_all(path: Path, position: Position | None, identity: str) -> Position:
    """Make the index of the whole record. `position` is what it reflects so far, if it can be used."""
    found = marks.read(path)
    known = position or found
    replay, extent, is_continued = Replay(), Extent(), not (known and known.offset)
    for extent, line in record.read_lines(path) if identity else ():
        is_continued |= known is not None and (extent.offset, extent.digest) == (known.offset, known.digest)
        if line.strip():
            try:
                replay.take(extent.lines, decode(line))
            except BadLineError as exc:
                raise _refused(path, extent.lines, str(exc)) from exc
    is_changed = not is_continued and (position is None or went_back(tables.entries(), replay.entries))
    # A file that has all the index has may be a compacted one with the inode of the one before, and a torn tail.
    is_same_file = position is not None and record.is_same_file(position.identity, identity)
    if position and is_changed and is_same_file and extent.offset < min(position.offset, record.size(path)):
        raise _refused(path, extent.lines + 1, "the line is incomplete, but it was complete before")
    if not replay.entries and ((position and position.ids) or (found and found.offset)):
        reason = "It is empty or missing, but there were users. Put it back, or a backup of it."
        names = f"{marks.path_of(path).name} and {index.path().name}"
        raise StoreError(path, None, f"{reason} To begin without users, delete {names} too.")
    if identity:  # a writer that was killed may not have waited for the disk
        record.sync(path)
        record.sync(path.parent)
    current = _marks_after(path, found, replay, is_changed=is_changed, has_index=position is not None)
    marks.write(path, replace(current, offset=extent.offset, digest=extent.digest))
    if position is None:
        index.make()
    with transaction.atomic():
        tables.replace_all(replay.entries.values())
        kept = {"generation": current.generation, "floor": current.floor}
        return tables.save_position(identity=identity, **asdict(extent), ids=len(replay.entries), **kept)


def _marks_after(path: Path, found: Marks | None, replay: Replay, *, is_changed: bool, has_index: bool) -> Marks:
    last_id = max(replay.entries, default=0)
    if found is None:
        if not replay.entries:
            return Marks.first()
        log.warning("%s: missing; ids jump and all sessions end", marks.path_of(path))
        return Marks.first().renewed(last_id + marks.JUMP)
    if is_changed:
        log.warning("%s: is an older copy or was edited in place; all sessions end", path)
        return found.renewed(last_id)
    if not has_index:
        found = replace(found, floor=max(found.floor, found.last_id))
    return replace(found, last_id=max(found.last_id, last_id))


def _refused(path: Path, line: int, reason: str) -> StoreError:
    return StoreError(path, line, f"{reason}. Correct that line, or put a backup of the file back.")
