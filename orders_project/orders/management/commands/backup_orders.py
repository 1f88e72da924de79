"""`manage.py backup_orders FILE`: copy all orders, as of one moment, while the service runs."""

import os
from argparse import ArgumentParser
from pathlib import Path

from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError, connection

# Ids given after the backup are not given again by a service that goes back to it.
SKIPPED_IDS = 1_000_000


class Command(BaseCommand):
    help = "Copy the SQLite database, as of one moment, into a new file. The service may run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the new file; an existing one is left alone")

    def handle(self, *, file: Path, **options: object) -> None:
        if connection.vendor != "sqlite":
            raise CommandError("The orders are in PostgreSQL. Use pg_dump --format=custom --file=FILE DATABASE_URL.")
        if file.exists():
            raise CommandError(f"{file} exists. Name a new file.")
        os.umask(0o077)
        unfinished = file.with_name(f".{file.name}.unfinished")
        try:
            unfinished.unlink(missing_ok=True)
            _copy(unfinished)
            unfinished.rename(file)
        except (OSError, DatabaseError) as exc:
            raise CommandError(f"{file} cannot be written: {exc}") from exc
        finally:
            unfinished.unlink(missing_ok=True)
        self.stdout.write(f"{file.resolve()}: {file.stat().st_size} bytes")


def _copy(file: Path) -> None:
    """Copy within one read transaction, during which others may write, to a file that is on disk at the end."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(file)])
        cursor.execute("ATTACH %s AS copy", [str(file)])
        try:
            cursor.execute("DELETE FROM copy.sqlite_sequence WHERE name = 'orders_order'")
            cursor.execute(
                "INSERT INTO copy.sqlite_sequence (name, seq) "
                "SELECT 'orders_order', coalesce(max(id), 0) + %s FROM copy.orders_order",
                [SKIPPED_IDS],
            )
        finally:
            cursor.execute("DETACH copy")
    with file.open("rb") as copied:
        os.fsync(copied.fileno())
