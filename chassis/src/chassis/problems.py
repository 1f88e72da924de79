"""The one renderer of errors: `application/problem+json` (RFC 9457), whatever went wrong.

    APIException (DRF's)
    ├── Conflict            the request does not fit what is stored: 409
    └── Unavailable         something that this service needs is down: 503

A problem's `code` is stable; its prose is not. An exception's `default_code`, or the code that it is
raised with, becomes the problem's. docs/problems.md lists the codes. An exception's `headers` and
`extensions`, if it has them, are added to the response and to the problem.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from . import conf, logs
from .statuses import code_of_status, reason_phrase

MEDIA_TYPE = "application/problem+json"
# RFC 3986, section 3.3: characters that a path may have unencoded.
_SAFE_IN_PATH = "/!$&'()*+,;=:@~"
Errors = dict[str, list[str]]


class Conflict(exceptions.APIException):
    """The request does not fit what is stored (RFC 9110, section 15.5.10)."""

    status_code = 409
    default_code = "conflict"
    default_detail = "The request conflicts with what is stored."

    def __init__(self, detail: str, errors: Errors | None = None, code: str | None = None) -> None:
        super().__init__(detail, code)
        self.errors = errors


class Unavailable(exceptions.APIException):
    """Something that this service needs is down; the same request may succeed later (RFC 9110, section 15.6.4)."""

    status_code = 503
    default_code = "unavailable"
    default_detail = "Something that this service needs is down. Try again."
    wait = 1


class ProblemNegotiation(DefaultContentNegotiation):
    """DRF's, for which a client that accepts problems accepts JSON: it cannot know which of the two comes."""

    def get_accept_list(self, request: Request) -> list[str]:
        accepted: list[str] = super().get_accept_list(request)
        problems = any(each.partition(";")[0].strip().lower() == MEDIA_TYPE for each in accepted)
        return [*accepted, "application/json"] if problems else accepted


def members(
    path: str, status: int, detail: str, errors: Errors | None = None, *, code: str | None = None, **extensions: object
) -> dict[str, object]:
    """Return the problem's members (RFC 9457, section 3.1).

    The type is `about:blank`, unless an extension has another: the status is the kind of problem (section 4.2.1).
    """
    found: dict[str, object] = {
        "type": "about:blank",
        "title": reason_phrase(status),
        "status": status,
        "code": code or code_of_status(status),
        "detail": detail,
        "instance": quote(path, safe=_SAFE_IN_PATH, errors="replace"),
        "request_id": logs.request_id.get(),
        "origin": conf.options().service,
    }
    if errors:
        found["errors"] = errors
    return found | extensions


def encode(members: Mapping[str, object]) -> bytes:
    """Return the document."""
    # A path may have bytes that are not UTF-8.
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def problem(
    request: HttpRequest,
    status: int,
    detail: str,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: Errors | None = None,
    **extensions: object,
) -> HttpResponse:
    """Return the problem as a response, for code outside of DRF's views."""
    response = HttpResponse(
        encode(members(request.path, status, detail, errors, code=code, **extensions)),
        status=status,
        reason=reason_phrase(status),
        headers=headers,
        content_type=MEDIA_TYPE,
    )
    return with_code(response, code or code_of_status(status))


def with_code(response: HttpResponse, code: str) -> HttpResponse:
    """Return the response with the problem's code, which the access log has too."""
    response.problem_code = code  # type: ignore[attr-defined]  # an attribute of ours
    return response


def problem_of(request: HttpRequest, exc: exceptions.APIException) -> HttpResponse:
    """Return the problem that a DRF exception is, for code outside of DRF's views."""
    detail, code, errors = _describe(exc)
    extensions = getattr(exc, "extensions", {})
    return problem(request, exc.status_code, detail, code=code, errors=errors, headers=headers_of(exc), **extensions)


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the problem for an exception that a DRF view raised; `None`, which means 500, for an unexpected one."""
    from rest_framework.views import exception_handler as drf_exception_handler  # it imports us, by the settings

    from . import databases  # its problems are ours

    request = context["request"]
    exc = databases.problem_of(exc, request.method) or exc
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    response = drf_exception_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return None
    detail, code, errors = _describe(exc)
    extensions = getattr(exc, "extensions", {})
    response.data = members(request.path, response.status_code, detail, errors, code=code, **extensions)
    with_code(response, response.data["code"])
    response.reason_phrase = reason_phrase(response.status_code)
    for name, value in headers_of(exc).items():
        response.headers[name] = value
    if getattr(getattr(request, "accepted_renderer", None), "format", "json") == "json":
        response.content_type = MEDIA_TYPE
    return response


def _describe(exc: exceptions.APIException) -> tuple[str, str | None, Errors | None]:
    """Return the detail, code and errors of a DRF exception."""
    detail = exc.detail
    if isinstance(exc, exceptions.ValidationError):
        found = flatten(detail)
        prose = "; ".join(f"{field}: {' '.join(messages)}" for field, messages in found.items())
        return prose, "validation_failed", found
    errors: Errors | None = getattr(exc, "errors", None)
    if isinstance(detail, dict):  # Simple JWT's
        return str(detail.get("detail", exc.default_detail)), str(detail.get("code", exc.default_code)), errors
    code = getattr(detail, "code", exc.default_code)
    return str(detail), _CODES.get(code, code), errors


# DRF's own codes that are not the field's words.
_CODES = {"parse_error": "malformed_body", "throttled": "rate_limited", "error": None, "invalid": "validation_failed"}


def headers_of(exc: exceptions.APIException) -> dict[str, str]:
    """Return the headers of a DRF exception's response."""
    headers: dict[str, str] = dict(getattr(exc, "headers", {}))
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers


def flatten(detail: Any, field: str = "") -> Errors:  # noqa: ANN401  # DRF's detail: a string, or lists and dicts of it
    """Return DRF's nested validation detail as one list of messages a field; `items.0.name` is a nested field."""
    errors: Errors = {}
    if isinstance(detail, Mapping):
        nested = [(f"{field}.{key}" if field else str(key), value) for key, value in detail.items()]
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        nested = [
            (f"{field}.{index}" if isinstance(value, Mapping) else field, value) for index, value in enumerate(detail)
        ]
    else:
        return {field or "non_field_errors": [str(detail)]}
    for name, value in nested:
        for key, messages in flatten(value, name).items():
            errors.setdefault(key, []).extend(messages)
    return errors


_DETAILS = {
    400: "The request is malformed.",
    403: "You do not have permission to perform this action.",
    404: "Nothing is found at this path.",
    500: "An unexpected error occurred. The service's log has it under this request_id.",
}


def detail_of_status(status: int) -> str:
    return _DETAILS.get(status, f"{reason_phrase(status)}.")


def _handler(status: int, code: str | None = None) -> Callable[..., HttpResponse]:
    """Return one of Django's handlers of errors. The cause of a 500 is in the log alone, under the request's id."""

    def respond(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
        return problem(request, status, detail_of_status(status), code=code)

    return respond


bad_request, not_found, server_error = _handler(400), _handler(404), _handler(500)
forbidden = _handler(403, "permission_denied")
