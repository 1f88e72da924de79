"""The middleware that keeps the index as the record is, for every request."""

import logging

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse

from . import journal, problems
from .middleware import GetResponse
from .problems import Unavailable
from .record import StorageFull

log = logging.getLogger(__name__)


class Freshness:
    """Lets no request read an index that is behind its record; where it cannot be brought up to date, answers 503."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request from a fresh index."""
        try:
            journal.catch_up()
        except Unavailable as exc:
            return problems.problem(request, 503, str(exc.detail))
        except (OperationalError, OSError) as exc:  # the latter where the directory of both is away
            return index_problem(request, exc)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 503 where the index was locked, full or deleted under a request: the next one makes it whole.

        And what a write under the admin's pages could not do, 503 or 507; DRF's views have answered that themselves.
        """
        if isinstance(exception, OperationalError):
            return index_problem(request, exception)
        if isinstance(exception, (Unavailable, StorageFull)):
            wait = getattr(exception, "wait", None)
            headers = {"Retry-After": str(wait)} if wait else None
            return problems.problem(request, exception.status_code, str(exception.detail), headers=headers)
        return None


def index_problem(request: HttpRequest, error: OperationalError | OSError) -> HttpResponse:
    """Return the problem for what SQLite or the system complains of; what that was, is in the log."""
    log.error("index: %s", error, exc_info=error)
    return problems.problem(request, 503, "The index of the users cannot be used at the moment. Try again.")
