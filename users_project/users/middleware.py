"""Queries of a request see everything that is stored."""

import logging

from django.db import DatabaseError, OperationalError
from django.http import HttpRequest, HttpResponse

from chassis import databases, problems
from chassis.databases import StorageFull
from chassis.middleware import Middleware
from chassis.problems import Unavailable

from . import store
from .store import changed, index

log = logging.getLogger(__name__)


class ChangedUsersMiddleware(Middleware):
    """Names the users that the request has changed in `Audit-Detail`, which the gateway takes into its audit trail."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with changed.collected() as found:
            response = self.get_response(request)
        if found and response.status_code < 400:
            response.headers["Audit-Detail"] = changed.described(found)
        return response


class CatchUpMiddleware(Middleware):
    """Brings the index up to date before a request reads it; responds 503 if there is none and none can be made."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            store.current().catch_up()
        except Unavailable as exc:
            return problems.problem_of(request, exc)
        except (DatabaseError, OSError) as exc:
            return _unreadable(request, exc)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Respond 503 or 507 to what DRF's views do not handle: what goes wrong in the admin, and a damaged index."""
        problem = databases.problem_of(exception, request.method)
        if isinstance(exception, (Unavailable, StorageFull)):
            problem = exception
        if problem:
            return problems.problem_of(request, problem)
        if index.discard_if_damaged(exception) or isinstance(exception, OperationalError):
            return _unreadable(request, exception)
        return None


def _unreadable(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("%s", error)
    return problems.problem_of(request, Unavailable("The users cannot be read at the moment. Try again."))
