"""Problems in an OpenAPI document: one component for each status, to which operations refer."""

from typing import Any

from .problems import MEDIA_TYPE
from .statuses import reason_phrase

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "A stable name of the problem, for programs."},
        "detail": {"type": "string", "description": "The problem in prose, for people; it may change."},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "origin": {"type": "string", "description": "The service that the problem comes from."},
        "errors": {
            "type": "object",
            "description": "The messages for each field that failed validation.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "required": ["type", "title", "status", "code", "detail", "instance", "request_id", "origin"],
}

# The problems of operations, by status: what each means, whatever the operation.
PROBLEMS: dict[int, str] = {
    400: "The request is invalid. `errors` names the fields.",
    401: "The request has no valid token.",
    403: "The user has no permission.",
    404: "Nothing is found at this path.",
    409: "The request conflicts with what is stored.",
    412: "It has changed since the response with the `ETag` of `If-Match`.",
    413: "The body is too large.",
    415: "The body is not of a type that this operation takes.",
    422: "The request is valid, but cannot be carried out.",
    429: "Too many requests.",
    503: "Something that the service needs is down.",
    507: "There is no room to store this; nothing was stored.",
}
RETRIED = frozenset({409, 429, 503, 507})
RETRY_AFTER: dict[str, Any] = {
    "description": "Seconds after which the same request may succeed.",
    "schema": {"type": "integer"},
}


def problem_responses() -> dict[str, Any]:
    """Return the problems as components, so that an operation refers to them: one a status, and `Problem` for all."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found: dict[str, Any] = {"Problem": {"description": "A problem (RFC 9457).", "content": content}}
    for status, description in PROBLEMS.items():
        found[_name(status)] = {"description": description, "content": content}
        if status in RETRIED:
            found[_name(status)]["headers"] = {"Retry-After": RETRY_AFTER}
    return found


def problem(status: int, description: str = "") -> dict[str, str]:
    """Return a reference to a problem's response, with a description of its own if there is one."""
    reference = {"$ref": f"#/components/responses/{_name(status)}"}
    return reference | {"description": description} if description else reference


def _name(status: int) -> str:
    return reason_phrase(status).replace(" ", "") if status in PROBLEMS else "Problem"
