"""Django's `migrate`, for replicas that start at once and for databases that start later."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from django.core.management.base import CommandParser
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from chassis import databases

# Of PostgreSQL's advisory locks, which are numbers; "migrate" in ASCII.
LOCK: Final = int.from_bytes(b"migrate")
# Seconds between two tries.
PAUSE: Final = 0.5


class Command(migrate.Command):
    """Migrates PostgreSQL under an advisory lock: of several processes one migrates, and the others find it done."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--wait", action="store_true", help="Wait for a database that does not respond, for as long as it takes."
        )

    def handle(self, *args: Any, wait: bool = False, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        connection = connections[options.get("database") or DEFAULT_DB_ALIAS]
        if wait:
            databases.wait_for(connection, self.stderr.write)
        with self.turn(connection):
            super().handle(*args, **options)

    @contextmanager
    def turn(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """Hold the lock. It ends with the connection, so that a process that is killed blocks no other.

        SQLite has none: its file belongs to one machine, where one process starts the project.
        """
        if connection.vendor != "postgresql":
            yield
            return
        # Not pg_advisory_lock, which a `statement_timeout` would end.
        while not _ask(connection, "SELECT pg_try_advisory_lock(%s)"):
            time.sleep(PAUSE)
        try:
            yield
        finally:
            with suppress(Error):  # the connection that failed in a migration has no lock any more
                _ask(connection, "SELECT pg_advisory_unlock(%s)")


def _ask(connection: BaseDatabaseWrapper, query: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(query, [LOCK])
        return bool(cursor.fetchone()[0])
