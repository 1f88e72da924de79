"""Export of users, with their hashes in the form that other programs read: `$argon2id$…`, `$2b$…`, `!` for none."""

import csv
import json
from collections.abc import Callable, Iterator
from typing import IO, Any

from users import store
from users.models import User

from .columns import COLUMNS

_CHUNK = 2000
_Row = dict[str, Any]


def export(file: IO[str], file_format: str, progress: Callable[[int], object]) -> int:
    """Write every user as of one moment, by id, and return how many."""
    return _WRITERS[file_format](file, _counted(_rows(), progress))


def _counted(rows: Iterator[_Row], progress: Callable[[int], object]) -> Iterator[_Row]:
    for number, row in enumerate(rows, 1):
        yield row
        progress(number)


def _rows() -> Iterator[_Row]:
    store.current().catch_up()
    for user in User.objects.order_by("id").iterator(chunk_size=_CHUNK):
        values = {name: getattr(user, name) for name in COLUMNS if name != "hashed_password"}
        values["hashed_password"] = _bare(user.password)
        for name in ("created_at", "updated_at"):
            values[name] = values[name].isoformat(timespec="milliseconds").replace("+00:00", "Z")
        yield {name: values[name] for name in COLUMNS}


def _bare(encoded: str) -> str:
    """Return the hash without the name that Django puts before it."""
    return "!" if encoded.startswith("!") else encoded.removeprefix("bcrypt$").removeprefix("argon2")


def _write_json(file: IO[str], rows: Iterator[_Row]) -> int:
    count = 0
    file.write("[")
    for count, row in enumerate(rows, 1):
        file.write(("\n" if count == 1 else ",\n") + json.dumps(row, ensure_ascii=False))
    file.write("\n]\n")
    return count


def _write_jsonl(file: IO[str], rows: Iterator[_Row]) -> int:
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007  # used after the loop
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def _write_csv(file: IO[str], rows: Iterator[_Row]) -> int:
    # A spreadsheet takes a value that begins with `=` for a formula: docs/operations.md says to open it as text.
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007  # used after the loop
        writer.writerow(row | {"is_active": "true" if row["is_active"] else "false"})
    return count


_WRITERS: dict[str, Callable[[IO[str], Iterator[_Row]], int]] = {
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
