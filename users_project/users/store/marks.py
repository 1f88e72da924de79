"""users.marks.json: the few facts that must outlive a lost index and a restored copy of users.jsonl.

They only grow. The file is replaced atomically, and only by the writer.
"""

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from .record import Extent, owner_only, sync_directory

log = logging.getLogger(__name__)

# Ids are reserved in blocks, so that one create in a hundred pays for this file.
BLOCK = 100
# How far ids jump if the marks are lost: nobody knows which were given.
JUMP = 1_000_000


@dataclass(frozen=True)
class Marks:
    """`generation` changes when what was read before has changed: then all sessions end.

    Ids up to `last_id` may have been given. New ids are above `floor`. `offset` and `digest` are the extent of a record
    that existed: a shorter or different one is an older copy.
    """

    generation: str
    last_id: int = 0
    floor: int = 0
    offset: int = 0
    digest: str = ""

    @classmethod
    def first(cls) -> "Marks":
        """Return the marks of an empty record."""
        return cls(uuid4().hex)

    def renewed(self, last_id: int) -> "Marks":
        """Return a new generation, whose ids are above every id that may have been given."""
        floor = max(self.last_id, last_id)
        return replace(self, generation=uuid4().hex, last_id=floor, floor=floor)

    def at(self, extent: Extent) -> "Marks":
        """Return the marks with that extent as the one that is known to have existed."""
        return replace(self, offset=extent.offset, digest=extent.digest)


def read(path: Path) -> Marks | None:
    """Return the marks, or None if they are missing or damaged."""
    try:
        data = json.loads(path.read_bytes())
        marks = Marks(**data)
        if [type(value) for value in asdict(marks).values()] == [str, int, int, int, str]:
            return marks
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        pass
    log.error("%s: damaged; a new generation begins, all sessions end", path)
    return None


def write(path: Path, marks: Marks) -> None:
    """Replace the marks, durably. Raises `OSError`; the old ones stay then."""
    fresh = path.with_suffix(".new")
    try:
        with open(fresh, "w", opener=owner_only) as file:  # Path.open takes no opener
            json.dump(asdict(marks), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
