"""Superseded lines: they move from the record to users.history.jsonl, without hashes, and a user's are read there."""

import json
import logging
import mmap
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from chassis.problems import Unavailable
from users.models import Entry, Position, User

from . import marks, record, tables
from .codec import BadLineError, decode, encode

log = logging.getLogger(__name__)


def history_of(path: Path) -> Path:
    return path.with_suffix(".history.jsonl")


def compact(path: Path, position: Position) -> Position:
    """Move the superseded lines; return what the index reflects then. The caller holds the lock."""
    last: dict[int, int] = {}
    for extent, line in record.read_lines(path) if position.offset else ():
        if line.strip():
            last[json.loads(line)["id"]] = extent.lines
    if len(last) == position.lines:
        return position
    kept = set(last.values())
    record.append_all(history_of(path), _superseded(path, kept))
    replaced = record.replace(path, position.identity, _kept(path, kept))
    if replaced is None:
        raise Unavailable("The users file was edited at the same time. Try again.")
    extent, identity = replaced
    log.info("%s: compacted from %d lines to %d", path, position.lines, extent.lines)
    position = tables.save_position(identity=identity, **asdict(extent))
    marks.note(path, extent)
    return position


def versions(path: Path, user_id: int) -> Iterator[Entry]:
    """Yield every version of the user in both files, oldest first. Superseded ones have no password."""
    seen = set()
    for file in (history_of(path), path):
        for line in _lines_of_user(file, user_id):
            with suppress(BadLineError):
                entry = decode(line, with_password=file is path)
                blanked = encode(entry, with_password=False)
                if entry.id == user_id and blanked not in seen:
                    seen.add(blanked)
                    yield entry


def _superseded(path: Path, kept: set[int]) -> Iterator[bytes]:
    for extent, line in record.read_lines(path):
        if line.strip() and extent.lines not in kept:
            data = json.loads(line)
            if "password" in data:
                data["password"] = ""
            yield json.dumps(data, ensure_ascii=False).encode() + b"\n"


def _kept(path: Path, kept: set[int]) -> Iterator[bytes]:
    """Yield the last line of each user, completed if it was appended by hand and leaves out the ends of sessions."""
    names = ("session_epoch", "session_end", "kept_session")
    derived = {pk: values for pk, *values in User.objects.values_list("pk", *names)}
    for extent, line in record.read_lines(path):
        if extent.lines in kept:
            data = json.loads(line)
            values = [data.get(name) for name in names]
            is_whole = data.get("deleted") or (values == derived.get(data["id"]) and not data.get("rehash"))
            entry = None if is_whole else tables.entry_of(data["id"])
            yield encode(entry) if entry else line


def _lines_of_user(path: Path, user_id: int) -> Iterable[bytes]:
    """Return the whole lines in which that id occurs, found without parsing the others."""
    if not record.size(path):
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in re.finditer(rb'"id"\s*:\s*%d\b' % user_id, data):
            start, end = data.rfind(b"\n", 0, match.start()) + 1, data.find(b"\n", match.end())
            if end >= 0:
                yield data[start : end + 1]
