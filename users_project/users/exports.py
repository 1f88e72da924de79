"""Users as a file to take elsewhere: a JSON array, JSONL or CSV. `imports` reads each of them.

    id, username, email, full_name, user_type, is_active, hashed_password, created_by, created_at, updated_at,
    session_epoch

The hashes are in the form that other programs read: `$argon2id$…`, `$2b$…`, and `!` of who has no password.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from . import journal
from .models import User
from .record import owner_only, sync_directory

Row = dict[str, Any]
COLUMNS = (
    "id",
    "username",
    "email",
    "full_name",
    "user_type",
    "is_active",
    "hashed_password",
    "created_by",
    "created_at",
    "updated_at",
    "session_epoch",
)
FORMATS = ("json", "jsonl", "csv")
AT_ONCE = 2000


def format_of(path: Path, chosen: str | None = None) -> str:
    """Return the format, by the file's name where none is chosen; raise `ValueError` where the name says none."""
    found = chosen or path.suffix.lower().removeprefix(".")
    if found not in FORMATS:
        raise ValueError(f"expected a name that ends with .json, .jsonl or .csv, or --format, got {path.name!r}")
    return found


def export(path: Path, file_format: str, progress: Callable[[int], object]) -> int:
    """Write every user into a new file that only its owner may read, and return how many; call `progress` with it.

    The file has its name once it is whole and on disk. Raises `FileExistsError`: nothing is written over.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists already.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected a folder that is there; there is no {path.parent}.")
    # A name of its own: what another export writes, or one that was killed has left, is in nobody's way.
    part = path.with_name(f"{path.name}.{token_hex(4)}.part")
    with open(part, "x", encoding="utf-8", newline="", opener=owner_only) as file:  # Path.open takes no opener
        try:
            count = WRITERS[file_format](file, counted(rows(), progress))
            file.flush()
            os.fsync(file.fileno())
            os.link(part, path)  # unlike a renaming, never over a file that was made meanwhile
        except FileExistsError as exc:
            raise FileExistsError(f"{path} was made meanwhile; nothing was written over it.") from exc
        finally:
            part.unlink(missing_ok=True)
    sync_directory(path.parent)
    return count


def rows() -> Iterator[Row]:
    """Yield each user, by id, as of one moment."""
    journal.catch_up()
    for user in User.objects.order_by("id").iterator(chunk_size=AT_ONCE):
        yield row(user)


def row(user: User) -> Row:
    """Return what is written of the user."""
    values = {name: getattr(user, name) for name in COLUMNS if name != "hashed_password"}
    values["hashed_password"] = bare(user.password)
    for name in ("created_at", "updated_at"):
        values[name] = values[name].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {name: values[name] for name in COLUMNS}


def bare(encoded: str) -> str:
    """Return the hash as other programs have it, without the name that Django puts before it."""
    return "!" if encoded.startswith("!") else encoded.removeprefix("bcrypt$").removeprefix("argon2")


def counted(found: Iterator[Row], progress: Callable[[int], object]) -> Iterator[Row]:
    """Yield what is found, calling `progress` with how many there were."""
    for number, one in enumerate(found, 1):
        yield one
        progress(number)


def write_json(file: IO[str], found: Iterator[Row]) -> int:
    """Write an array with one user a line."""
    count = 0
    file.write("[")
    for count, one in enumerate(found, 1):  # it is how many there were
        file.write(("\n" if count == 1 else ",\n") + json.dumps(one, ensure_ascii=False))
    file.write("\n]\n")
    return count


def write_jsonl(file: IO[str], found: Iterator[Row]) -> int:
    """Write one user a line."""
    count = 0
    for count, one in enumerate(found, 1):  # noqa: B007  # it is how many there were
        file.write(json.dumps(one, ensure_ascii=False) + "\n")
    return count


def write_csv(file: IO[str], found: Iterator[Row]) -> int:
    """Write RFC 4180's CSV with a header. A value is what it is: a spreadsheet takes one with `=` for a formula."""
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    count = 0
    for count, one in enumerate(found, 1):  # noqa: B007  # it is how many there were
        writer.writerow(one | {"is_active": "true" if one["is_active"] else "false"})
    return count


WRITERS = {"json": write_json, "jsonl": write_jsonl, "csv": write_csv}
