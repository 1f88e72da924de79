"""DRF's exception handler at the gateway: rejections become problems like any other error."""

from typing import Any

from rest_framework.exceptions import APIException
from rest_framework.response import Response

from chassis import problems
from gateway.identity import storage
from gateway.policy.rejections import RequestRejected


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the problem for an exception that a view raised; `None`, which means 500, for one nobody expected."""
    exc = storage.as_rejection(exc) or exc
    if not isinstance(exc, RequestRejected):
        return problems.exception_handler(exc, context)
    known = APIException(exc.detail, exc.code or None)
    known.status_code = exc.status
    response = problems.exception_handler(known, context)
    if response is not None:
        for name, value in exc.headers.items():
            response[name] = value
        for member in ("service", "error"):
            if said := getattr(exc, member, None):
                response.data[member] = said
    return response
