"""Export of users, with their hashes in the form that other programs read: `$argon2id$…`, `$2b$…`, `!` for none."""

import csv
import json
from typing import IO

from users import store
from users.models import Deletion, User
from users.store.codec import plain

from .readers import COLUMNS

FORMATS = ("jsonl", "csv")


def export(file: IO[str], file_format: str) -> int:
    """Write every user by id, and return how many. JSON lines have the deleted ids too, which are not reused."""
    store.current().catch_up()
    # A spreadsheet treats a value that begins with `=` as a formula: docs/operations.md says to open it as text.
    table, count = csv.DictWriter(file, COLUMNS), 0
    if file_format == "csv":
        table.writeheader()
    for user in User.objects.order_by("id").iterator(chunk_size=2000):
        row = {name: plain(getattr(user, name, None)) for name in COLUMNS} | {"hashed_password": _bare(user.password)}
        if file_format == "csv":
            table.writerow(row)
        else:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        count += 1
    if file_format == "jsonl":
        for deletion in Deletion.objects.order_by("id").iterator():
            row = {"id": deletion.pk, "deleted": True, "updated_at": plain(deletion.updated_at)}
            file.write(json.dumps(row) + "\n")
    return count


def _bare(encoded: str) -> str:
    """Return the hash without the name that Django puts before it."""
    return "!" if encoded.startswith("!") else encoded.removeprefix("bcrypt$").removeprefix("argon2")
