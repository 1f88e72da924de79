"""The middleware that keeps the index as the record is, for every request."""

import logging
from typing import Any

from django.db import DatabaseError, OperationalError
from django.http import HttpRequest, HttpResponse
from rest_framework.response import Response

from chassis import problems
from chassis.databases import StorageFull
from chassis.middleware import GetResponse
from chassis.problems import Unavailable

from . import index, journal

log = logging.getLogger(__name__)


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's handler. What the index raises is left to `Freshness`, which may have to open it again."""
    return None if isinstance(exc, DatabaseError) else problems.exception_handler(exc, context)


class Freshness:
    """Lets no request read an index that is behind its record; where it cannot be brought up to date, answers 503."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request from a fresh index."""
        try:
            journal.catch_up()
        except index.IndexDamagedError as exc:
            return damage_problem(request, exc)
        except Unavailable as exc:
            return problems.problem_of(request, exc)
        except (DatabaseError, OSError) as exc:  # the latter where the directory of both is away
            return store_problem(request, exc)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 503 where the index was locked, full, damaged or deleted under a request, or PostgreSQL went away.

        And what a write under the admin's pages could not do, 503 or 507; DRF's views have answered that themselves.
        """
        if isinstance(exception, OperationalError) or (
            isinstance(exception, DatabaseError) and index.is_damage(exception)
        ):
            return store_problem(request, exception)
        if isinstance(exception, (Unavailable, StorageFull)):
            return problems.problem_of(request, exception)
        return None


def store_problem(request: HttpRequest, error: DatabaseError | OSError) -> HttpResponse:
    """Return the problem for what SQLite, PostgreSQL or the system complains of; what that was, is in the log.

    After an I/O error or damage the next request opens the index anew, and compares it with the record.
    """
    message = None
    if isinstance(error, DatabaseError):
        damage = index.note_fault(error)
        if damage:
            return damage_problem(request, damage)
        message = index.message_of(error)
    log.error("%s", message or error)
    return problems.problem_of(request, Unavailable("The users cannot be read at the moment. Try again."))


def damage_problem(request: HttpRequest, damage: index.IndexDamagedError) -> HttpResponse:
    """Return the problem where the index is damaged; what to do is in the log."""
    log.error("%s", damage)
    return problems.problem_of(request, damage)
