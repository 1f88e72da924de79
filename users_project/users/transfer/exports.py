"""Export of users, with their hashes in the form that other programs read: `$argon2id$…`, `$2b$…`, `!` for none."""

import csv
import json
from itertools import chain
from typing import IO, cast

from users import store
from users.models import Deletion, User
from users.store.codec import plain

from .readers import COLUMNS

FORMATS = ("jsonl", "csv")


def export(file: IO[str], file_format: str) -> int:
    """Write every user by id, and return how many. JSON lines have the deleted ids too, which are not reused."""
    store.current().catch_up()
    users = User.objects.order_by("id").iterator(chunk_size=2000)
    if file_format == "csv":
        # A spreadsheet treats a value that begins with `=` as a formula: docs/operations.md says to open it as text.
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(map(_row, users))
    else:
        deletions = Deletion.objects.order_by("id").values("id", "updated_at").iterator()
        rows = chain(map(_row, users), (row | {"deleted": True} for row in deletions))
        file.writelines(json.dumps(row, ensure_ascii=False, default=plain) + "\n" for row in rows)
    return cast("int", User.objects.count())


def _row(user: User) -> dict[str, object]:
    """Return the user's columns, and the hash without the name that Django puts before it."""
    encoded = user.password
    bare = "!" if encoded.startswith("!") else encoded.removeprefix("bcrypt$").removeprefix("argon2")
    return {name: plain(getattr(user, name, None)) for name in COLUMNS} | {"hashed_password": bare}
