"""What the gateway's database could not do, as a refusal that says when to try again. Nothing of that is stored.

Refused
├── StoreBusy           503  the database is locked, or does not answer
└── StoreFull           507  the database has no room for more
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError

from chassis import databases
from gateway.policy.rejections import RequestRejected

log = logging.getLogger(__name__)


class StoreBusy(RequestRejected):
    """The database is locked or away (RFC 9110, section 15.6.4)."""

    status = 503
    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The sessions' database did not respond in time. Try again later. Try again.", {"Retry-After": "1"}
        )


class StoreFull(RequestRejected):
    """There is no room for what is to be stored (RFC 4918, section 11.5)."""

    status = 507
    code = "storage_full"

    def __init__(self) -> None:
        super().__init__("There is no room to store the session. Try again later.", {"Retry-After": "60"})


def as_rejection(exc: Exception) -> RequestRejected | None:
    """Return the rejection for what a database raised; `None` for anything else, as a fault of ours."""
    meaning = databases.meaning_of(exc)
    if meaning is None:
        return None
    rejected = StoreFull() if meaning is databases.Meaning.FULL else StoreBusy()
    log.error("%d: the database says: %s", rejected.status, exc)
    return rejected


@contextmanager
def as_rejections() -> Iterator[None]:
    """Raise what a database raises as the `RequestRejected` that it is, where it is one."""
    try:
        yield
    except (DatabaseError, InterfaceError) as exc:
        if (rejected := as_rejection(exc)) is None:
            raise
        raise rejected from exc
