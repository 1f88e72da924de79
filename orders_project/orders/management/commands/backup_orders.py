"""`manage.py backup_orders FILE`: a copy of all orders as of one moment, while they are served."""

import errno
import fcntl
import glob
import os
import signal
import sqlite3
import sys
from argparse import ArgumentParser
from contextlib import closing, suppress
from pathlib import Path
from tempfile import mkstemp

from django.core.management import BaseCommand, CommandError
from django.db import connection

# How many ids a service that goes back to the copy leaves out: those given after the backup are not given again.
IDS_LEFT_OUT = 1_000_000
UNFINISHED = ".unfinished"


class Command(BaseCommand):
    """Copies the SQLite database. The file is whole or not there, its owner's alone, and never one that was there."""

    help = "Copy the SQLite database, as of one moment, into a new file while the service goes on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the name of the file."""
        parser.add_argument("file", type=Path, help="the new file; one that exists is left alone")

    def handle(self, *, file: Path, **options: object) -> None:
        """Copy; raise `CommandError` where the file exists, or cannot be written. Stopped, it leaves nothing."""
        if connection.vendor != "sqlite":
            raise CommandError("Expected SQLite. For PostgreSQL: pg_dump --format=custom --file=FILE DATABASE_URL")
        database = Path(connection.settings_dict["NAME"])
        if not database.exists():
            raise CommandError(f"Expected the database of orders: there is no {database}")
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            copy(database, file)
        except FileExistsError as exc:
            raise CommandError(f"Expected a new file: {file} exists") from exc
        except (OSError, sqlite3.Error) as exc:
            raise CommandError(f"{file} could not be written: {exc}") from exc
        finally:
            signal.signal(signal.SIGTERM, before)
        self.stdout.write(f"{file.resolve()}: {file.stat().st_size} bytes")


def copy(database: Path, file: Path) -> None:
    """Copy the database into the new file. `mkstemp` makes it readable by its owner alone."""
    if file.exists():
        raise FileExistsError(file)
    remove_unfinished(file)
    descriptor, name = mkstemp(prefix=f".{file.name}.", suffix=UNFINISHED, dir=file.parent)
    temporary = Path(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        copy_into(temporary, database)
        os.fsync(descriptor)
        give_name(temporary, file)
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_unfinished(file: Path) -> None:
    """Remove what earlier runs for that file left, as they were killed; one that goes on has locked its own."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.*{UNFINISHED}"):
        with suppress(OSError), left.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def copy_into(temporary: Path, database: Path) -> None:
    """Copy the database, as it is: `connect` alone would make one that is not there."""
    source = sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)
    with closing(source), closing(sqlite3.connect(temporary, isolation_level=None)) as target:
        # In one step, within one read transaction: in WAL mode writers go on meanwhile, and are not in the copy.
        source.backup(target, progress=hear)
        # One file, with no -wal beside it.
        target.execute("PRAGMA journal_mode=DELETE")
        had = target.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'orders_order'", (IDS_LEFT_OUT,))
        if had.rowcount == 0:  # no order was placed yet
            target.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('orders_order', ?)", (IDS_LEFT_OUT,))


def hear(status: int, remaining: int, pages: int) -> None:
    """Let Python run between the steps: that is where a signal is heard while the copy waits for the database."""


def give_name(temporary: Path, file: Path) -> None:
    """Name the file; raise `FileExistsError` where one has come there meanwhile, which a rename alone would replace."""
    try:
        file.hardlink_to(temporary)
    except OSError as exc:
        if exc.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
            raise
        # A file system without links: the name is taken first, so that what is replaced is one's own.
        file.touch(mode=0o600, exist_ok=False)
        temporary.replace(file)
