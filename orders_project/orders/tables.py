"""The tables as this program expects them."""

import logging

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

log = logging.getLogger("tables")


def check_tables() -> None:
    """Raise `ImproperlyConfigured` where the tables lack some of this program's migrations; for a start.

    A database that is away is no reason not to start: what comes is answered with 503 until it is back.
    """
    try:
        executor = MigrationExecutor(connection)
        # A later version may have added to them, and other projects have theirs in the same database.
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError as exc:
        log.warning("The database says, at the start: %s", exc)
        return
    finally:
        connection.close()
    if missing:
        raise ImproperlyConfigured("The database is not of this version: run `manage.py migrate` first.")
