"""Superseded lines: they move from the record to users.history.jsonl, without hashes, and a user's are read there."""

import json
import logging
import mmap
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from users.models import Entry, Position, User

from . import marks, record, tables
from .codec import BadLineError, decode, encode

log = logging.getLogger(__name__)


def history_of(path: Path) -> Path:
    return path.with_suffix(".history.jsonl")


def compact(path: Path, position: Position) -> Position:
    """Move the superseded lines; return what the index reflects then. The caller holds the lock."""
    kept: dict[int, bytes] = {}
    superseded: list[bytes] = []
    for _, line in record.read_lines(path) if position.offset else ():
        if line.strip():
            user_id = json.loads(line)["id"]
            if user_id in kept:
                superseded.append(kept.pop(user_id))
            kept[user_id] = line
    if not superseded:
        return position
    record.append_all(history_of(path), (encode(decode(line), with_password=False) for line in superseded))
    extent, identity = record.replace(path, position.identity, _completed(kept))
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
                entry = decode(line, has_password=file is path)
                blanked = encode(entry, with_password=False)
                if entry.id == user_id and blanked not in seen:
                    seen.add(blanked)
                    yield entry


def _completed(lines: dict[int, bytes]) -> Iterator[bytes]:
    """Yield each user's line, completed if it was appended by hand and leaves out the ends of sessions."""
    names = ("session_epoch", "session_end", "kept_session")
    derived = {pk: values for pk, *values in User.objects.values_list("pk", *names)}
    for user_id, line in lines.items():
        data = json.loads(line)
        is_whole = [data.get(name) for name in names] == derived.get(user_id) and not data.get("rehash")
        yield line if is_whole or data.get("deleted") else encode(User.objects.get(pk=user_id))


def _lines_of_user(path: Path, user_id: int) -> Iterable[bytes]:
    """Return the whole lines in which that id occurs, found without parsing the others."""
    if not record.size(path):
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in re.finditer(rb'"id"\s*:\s*%d\b' % user_id, data):
            start, end = data.rfind(b"\n", 0, match.start()) + 1, data.find(b"\n", match.end())
            if end >= 0:
                yield data[start : end + 1]
