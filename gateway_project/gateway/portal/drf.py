"""What DRF's settings name: who a request is from, and the problem of an exception."""

from typing import Any, cast

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from chassis import databases, problems
from gateway.identity.authentication import Caller
from gateway.policy.rejections import RequestRejected

from .context import APIRequest

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
        } | rejected.extensions
        # The renderer has a parameter for these.
        self.errors = self.extensions.pop("errors", None)


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


class CallerAuthentication(BaseAuthentication):
    """By `Authorization: Bearer <access token>`, or by a browser's cookie."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        """Return the caller; `None` without credentials, which is 401 where a login is required."""
        try:
            identity = cast("APIRequest", request).gateway.identify()
        except RequestRejected:
            # The page of this error reads `request.user`, which must not fail again. DRF does so for its own errors.
            cast("Any", request)._not_authenticated()  # noqa: SLF001
            raise
        if identity is None:
            return None
        request.META["HTTP_REQUEST_USER_ID"] = identity.user_id
        return Caller(identity), None

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401 (RFC 6750, section 3)."""
        return 'Bearer realm="api"'
