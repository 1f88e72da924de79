"""users.marks.json: the few facts that must outlive a lost index and a restored copy of users.jsonl.

They only grow. The file is replaced atomically, and only by the writer.
"""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from uuid import uuid4

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from .record import Extent, identity
from .record import replace as replace_file

log = logging.getLogger(__name__)

# Ids are reserved in blocks, so that one create in a hundred pays for this file.
BLOCK = 100
# How far ids jump if the marks are lost: which ids were given is unknown then.
JUMP = 1_000_000


@dataclass(frozen=True, config={"strict": True, "extra": "forbid"})
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
        return cls(uuid4().hex)

    def renewed(self, last_id: int) -> "Marks":
        """Return a new generation, whose ids are above every id that may have been given."""
        floor = max(self.last_id, last_id)
        return replace(self, generation=uuid4().hex, last_id=floor, floor=floor)


_MARKS = TypeAdapter(Marks)


def path_of(record: Path) -> Path:
    return record.with_suffix(".marks.json")


def read(record: Path) -> Marks | None:
    """Return the marks of a record, or None if they are missing or damaged."""
    try:
        return _MARKS.validate_json(path_of(record).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        log.error("%s: damaged; a new generation begins, all sessions end", path_of(record))  # noqa: TRY400
        return None


def write(record: Path, marks: Marks) -> None:
    """Replace the marks of a record, durably. Raises `OSError`; the old ones stay then."""
    path = path_of(record)
    replace_file(path, identity(path), [json.dumps(asdict(marks)).encode()])


def reserve(record: Path, last_id: int) -> None:
    """Make sure that ids up to this one are never given again."""
    marks = read(record) or Marks.first()
    if last_id > marks.last_id:
        write(record, replace(marks, last_id=last_id + BLOCK - 1))


def note(record: Path, extent: Extent) -> None:
    """Note how much of the record exists, so that an older copy is recognized without an index."""
    if marks := read(record):
        write(record, replace(marks, offset=extent.offset, digest=extent.digest))
