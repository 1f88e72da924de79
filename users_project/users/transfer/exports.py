"""Export of users, with their hashes in the form that other programs read: `$argon2id$…`, `$2b$…`, `!` for none."""

import csv
import json
from collections.abc import Callable, Iterator
from typing import IO, Any

from users import store
from users.models import Deletion, User
from users.store.codec import plain

from .columns import COLUMNS

_CHUNK = 2000
_Row = dict[str, Any]


def export(file: IO[str], file_format: str) -> int:
    """Write every user by id, and return how many. JSON also has the ids of deleted users; they are not reused."""
    store.current().catch_up()
    count = 0

    def rows() -> Iterator[_Row]:
        nonlocal count
        for user in User.objects.order_by("id").iterator(chunk_size=_CHUNK):
            yield {name: plain(getattr(user, name)) for name in COLUMNS if name != "hashed_password"} | {
                "hashed_password": _bare(user.password)
            }
            count += 1
        if file_format != "csv":
            for deletion in Deletion.objects.order_by("id").iterator():
                yield {"id": deletion.pk, "deleted": True, "updated_at": plain(deletion.updated_at)}

    _WRITERS[file_format](file, rows())
    return count


def _bare(encoded: str) -> str:
    """Return the hash without the name that Django puts before it."""
    return "!" if encoded.startswith("!") else encoded.removeprefix("bcrypt$").removeprefix("argon2")


def _write_json(file: IO[str], rows: Iterator[_Row]) -> None:
    separator = "[\n"
    for row in rows:
        file.write(separator + json.dumps(row, ensure_ascii=False))
        separator = ",\n"
    file.write("\n]\n" if separator != "[\n" else "[]\n")


def _write_jsonl(file: IO[str], rows: Iterator[_Row]) -> None:
    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_csv(file: IO[str], rows: Iterator[_Row]) -> None:
    # A spreadsheet treats a value that begins with `=` as a formula: docs/operations.md says to open it as text.
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(row | {"is_active": "true" if row["is_active"] else "false"} for row in rows)


_WRITERS: dict[str, Callable[[IO[str], Iterator[_Row]], None]] = {
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
