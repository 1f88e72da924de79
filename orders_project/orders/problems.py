"""The one renderer of errors: `application/problem+json` (RFC 9457), whatever went wrong.

    APIException (DRF's)
    ├── Conflict            what was asked does not fit what is stored: 409
    └── Unavailable         something that this service needs is away: 503

This file is the same in each project.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from . import logs
from .titles import title

MEDIA_TYPE = "application/problem+json"
# RFC 3986, section 3.3: what stands in a path as it is.
IN_PATH = "/!$&'()*+,;=:@~"
Errors = dict[str, list[str]]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "origin": {"type": "string", "description": "The service that the problem comes from."},
        "errors": {
            "type": "object",
            "description": "Of a validation: the messages of each field.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "request_id", "origin"],
}


class Conflict(exceptions.APIException):
    """What was asked does not fit what is stored (RFC 9110, section 15.5.10)."""

    status_code = 409
    default_detail = "The request conflicts with what is stored."

    def __init__(self, detail: str, errors: Errors | None = None) -> None:
        super().__init__(detail)
        self.errors = errors


class Unavailable(exceptions.APIException):
    """Something that this service needs is away; the same request may succeed later (RFC 9110, section 15.6.4)."""

    status_code = 503
    default_detail = "Something that this service needs is away. Try again."
    wait = 1


def body(path: str, status: int, detail: str, errors: Errors | None = None, **extensions: object) -> dict[str, object]:
    """Return the problem's members (RFC 9457, section 3.1).

    The type is `about:blank`: the status says what kind of problem it is (section 4.2.1), `detail` what was expected.
    """
    members: dict[str, object] = {
        "type": "about:blank",
        "title": title(status),
        "status": status,
        "detail": detail,
        "instance": quote(path, safe=IN_PATH, errors="replace"),
        "request_id": logs.request_id.get(),
        "origin": settings.SERVICE_NAME,
    }
    if errors:
        members["errors"] = errors
    return members | extensions


def problem(
    request: HttpRequest,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Errors | None = None,
    **extensions: object,
) -> HttpResponse:
    """Return the problem as a response, for code outside of DRF's views."""
    return JsonResponse(
        body(request.path, status, detail, errors, **extensions),
        status=status,
        reason=title(status),
        headers=headers,
        content_type=MEDIA_TYPE,
        json_dumps_params={"ensure_ascii": False},
    )


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


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the problem for an exception that a DRF view raised; `None`, which means 500, for one nobody expected."""
    from rest_framework.views import exception_handler as drf_exception_handler  # it imports us, by the settings

    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    response = drf_exception_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return None
    errors = getattr(exc, "errors", None)
    detail = str(exc.detail)
    if isinstance(exc, exceptions.ValidationError):
        errors = flatten(exc.detail)
        detail = "; ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items())
    elif isinstance(exc.detail, dict):
        detail = str(exc.detail.get("detail", exc.default_detail))
    request = context["request"]
    response.data = body(request.path, response.status_code, detail, errors)
    response.reason_phrase = response.data["title"]
    for name, value in getattr(exc, "headers", {}).items():
        response.headers[name] = value
    if getattr(getattr(request, "accepted_renderer", None), "format", "json") == "json":
        response.content_type = MEDIA_TYPE
    return response


def describe(result: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    """Say in the OpenAPI document that every operation may answer a problem: drf-spectacular's post-processing hook."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = SCHEMA
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    components.setdefault("responses", {})["Problem"] = {"description": "A problem (RFC 9457).", "content": content}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
    return result


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    return problem(request, 400, "The request is malformed.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    return problem(request, 403, "You do not have permission to perform this action.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    return problem(request, 404, "Nothing is found at this path.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500. What went wrong is in the log, under the request's id, and nowhere else."""
    return problem(request, 500, "Something went wrong here. The log has it under this request_id.")
