"""Queries of a request see everything that is stored."""

import logging
from typing import Any

from django.db import DatabaseError, OperationalError
from django.http import HttpRequest, HttpResponse
from rest_framework.response import Response

from chassis import databases, problems
from chassis.databases import StorageFull
from chassis.middleware import GetResponse
from chassis.problems import Unavailable

from . import store
from .store import index

log = logging.getLogger(__name__)
_UNREADABLE = "The users cannot be read at the moment. Try again."


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's handler. A damaged index is left to `CatchUpMiddleware`, which has it rebuilt."""
    return None if index.is_damage(exc) else problems.exception_handler(exc, context)


class CatchUpMiddleware:
    """Brings the index up to date before a request reads it; answers 503 if there is none and none can be made."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            store.current().catch_up()
        except Unavailable as exc:
            return problems.problem_of(request, exc)
        except (DatabaseError, OSError) as exc:
            return _unreadable(request, exc)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 503 or 507 for what went wrong outside of DRF's views: in the admin."""
        if isinstance(exception, (Unavailable, StorageFull)):
            return problems.problem_of(request, exception)
        if index.is_damage(exception):
            return _unreadable(request, exception)
        problem = databases.problem_of(exception, request.method)
        if problem or isinstance(exception, OperationalError):
            return problems.problem_of(request, problem) if problem else _unreadable(request, exception)
        return None


def _unreadable(request: HttpRequest, error: Exception) -> HttpResponse:
    if index.is_damage(error):
        index.doubt(error)
    log.error("%s", error)
    return problems.problem_of(request, Unavailable(_UNREADABLE))
