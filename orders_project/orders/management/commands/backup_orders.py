"""`manage.py backup_orders FILE`: a copy of all orders as of one moment, while they are served."""

import os
import sqlite3
from argparse import ArgumentParser
from contextlib import closing
from pathlib import Path
from tempfile import mkstemp

from django.core.management import BaseCommand, CommandError
from django.db import connection


class Command(BaseCommand):
    """Copies the SQLite database. The file is whole or not there, its owner's alone, and never one that was there."""

    help = "Copy the SQLite database, as of one moment, into a new file while the service goes on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the name of the file."""
        parser.add_argument("file", type=Path, help="the new file; one that exists is left alone")

    def handle(self, *, file: Path, **options: object) -> None:
        """Copy; raise `CommandError` where the file exists, or cannot be written."""
        if connection.vendor != "sqlite":
            raise CommandError("Expected SQLite. For PostgreSQL: pg_dump --format=custom --file=FILE DATABASE_URL")
        try:
            copy(str(connection.settings_dict["NAME"]), file)
        except FileExistsError as exc:
            raise CommandError(f"Expected a new file: {file} exists") from exc
        except (OSError, sqlite3.Error) as exc:
            raise CommandError(f"{file} could not be written: {exc}") from exc
        self.stdout.write(f"{file.resolve()}: {file.stat().st_size} bytes")


def copy(database: str, file: Path) -> None:
    """Copy the database into the new file. `mkstemp` makes it readable by its owner alone."""
    if file.exists():
        raise FileExistsError(file)
    descriptor, name = mkstemp(prefix=f".{file.name}.", dir=file.parent)
    temporary = Path(name)
    try:
        # Opened as it is: `connect` alone would make a database that is not there.
        source = sqlite3.connect(f"{Path(database).as_uri()}?mode=rw", uri=True)
        with closing(source), closing(sqlite3.connect(temporary)) as target:
            # In one step, within one read transaction: in WAL mode writers go on meanwhile, and are not in the copy.
            source.backup(target)
            # One file, with no -wal beside it.
            target.execute("PRAGMA journal_mode=DELETE")
        os.fsync(descriptor)
        # Unlike a rename, a link never replaces what has come there meanwhile.
        file.hardlink_to(temporary)
    finally:
        os.close(descriptor)
        temporary.unlink()
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
