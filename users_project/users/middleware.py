"""Queries of a request see everything that is stored."""

import logging

from django.db import DatabaseError, OperationalError
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException

from chassis import databases, problems
from chassis.middleware import Middleware
from chassis.problems import Unavailable

from . import store
from .store import changed, index

log = logging.getLogger(__name__)


class ChangedUsersMiddleware(Middleware):
    """Names the users that the request has changed in `Audit-Detail`, which the gateway takes into its audit trail.

    An empty header tells the gateway that nothing was changed.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with changed.collected() as found:
            response = self.get_response(request)
        if request.method not in {"GET", "HEAD", "OPTIONS"} and response.status_code < 400:
            response.headers["Audit-Detail"] = changed.described(found)
        return response


class CatchUpMiddleware(Middleware):
    """Brings the index up to date before a request reads it; responds 503 if there is none and none can be made."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            store.current().catch_up()
        except (Unavailable, DatabaseError, OSError) as exc:
            if problem := self.process_exception(request, exc):
                return problem
            raise
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Respond to what DRF's views do not handle: what goes wrong in the admin, and a damaged index."""
        problem = exception if isinstance(exception, APIException) else databases.problem_of(exception, request.method)
        if not problem and (index.discard_if_damaged(exception) or isinstance(exception, (OperationalError, OSError))):
            log.error("%s", exception, exc_info=exception)
            problem = Unavailable("The users cannot be read at the moment. Try again.")
        return problems.problem_of(request, problem) if problem else None
