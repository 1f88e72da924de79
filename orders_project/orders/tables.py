"""The tables as this program expects them."""

import logging

from django.db import OperationalError, connection

from chassis.databases import check_migrations

log = logging.getLogger("tables")


def check_tables() -> None:
    """Raise `ImproperlyConfigured` if tables are missing; for a start.

    A database that is away is no reason not to start: requests are answered with 503 until it is back.
    """
    try:
        check_migrations()
    except OperationalError as exc:
        log.warning("The database cannot be checked at the start: %s", exc)
    finally:
        connection.close()
