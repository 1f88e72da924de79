"""Errors of the DRF door: a rejection, or a database's error, becomes the problem that `chassis.problems` renders."""

from typing import Any

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from chassis import databases, problems
from gateway.policy.rejections import RequestRejected

# What code outside of DRF's views catches and gives to `problem_of`.
REJECTIONS = (RequestRejected, DatabaseError, InterfaceError)


class RejectedProblem(APIException):
    """A `RequestRejected` as an error of DRF's."""

    def __init__(self, rejected: RequestRejected) -> None:
        super().__init__(rejected.detail, rejected.code or None)
        self.status_code = rejected.status
        self.headers = rejected.headers
        self.extensions = {
            name: value for name in ("service", "error") if (value := getattr(rejected, name, None)) is not None
        }


def problem_of(exc: Exception, method: str | None) -> APIException:
    """Return the problem that the exception is; raise it if it is a bug."""
    problem = RejectedProblem(exc) if isinstance(exc, RequestRejected) else databases.problem_of(exc, method)
    if problem is None:
        raise exc
    return problem


def rejection(request: HttpRequest, rejected: RequestRejected) -> HttpResponse:
    """Return the response to a rejected request, for code outside of DRF's views."""
    return problems.problem_of(request, RejectedProblem(rejected))


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the problem for an exception that a DRF view raised; `None`, which means 500, for an unexpected one."""
    return problems.exception_handler(RejectedProblem(exc) if isinstance(exc, RequestRejected) else exc, context)
