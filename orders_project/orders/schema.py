"""What the OpenAPI document says of these operations beside their bodies: headers, and which problems come when."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from chassis.parameters import IF_MATCH, IF_NONE_MATCH

from .idempotency import BARE, KEPT_FOR, MAX_LENGTH, QUOTED

HOURS = KEPT_FOR.total_seconds() / 3600


def asked(name: str, description: str, schema: dict[str, Any] | None = None) -> OpenApiParameter:
    """Return a header of the request."""
    return OpenApiParameter(name, schema or str, OpenApiParameter.HEADER, description=description)


def answered(name: str, description: str, *statuses: int) -> OpenApiParameter:
    """Return a header of the answers of those statuses."""
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, description=description, response=[str(status) for status in statuses]
    )


def problem(status: int, description: str) -> dict[Any, OpenApiResponse]:
    """Return a problem among an operation's responses. The chassis adds its content."""
    return {status: OpenApiResponse(description=description)}


KEY = asked(
    "Idempotency-Key",
    f"Of your own making, {MAX_LENGTH} characters at most, with or without quotes. "
    f"The same request again within {HOURS:.0f} hours gets the first answer again.",
    # In quotes, each character can have a backslash before it.
    {"type": "string", "maxLength": 2 * MAX_LENGTH + 2, "pattern": f"^({QUOTED.pattern}|{BARE.pattern})$"},
)
LOCATION = answered("Location", "The path of the order.", 201)

UNCHANGED: dict[Any, Any] = {304: OpenApiResponse(description="Nothing has changed since the answer with that `ETag`.")}
CHANGED = problem(412, "It has changed since the answer with the `ETag` of `If-Match`.")
NOT_FOUND = problem(404, "There is no such order of yours.")
AWAY = problem(503, "The database is busy or away, or the gateway's keys are. The detail says what was stored.")
FULL = problem(507, "There is no room to store this; nothing was stored.")


def etag(*statuses: int) -> OpenApiParameter:
    """Return the `ETag` of those answers."""
    return answered("ETag", "What `If-None-Match` and `If-Match` compare.", *statuses)


LIST: dict[str, Any] = {
    "parameters": [IF_NONE_MATCH, IF_MATCH, etag(200, 304)],
    "responses": UNCHANGED | problem(400, "A parameter is at fault.") | CHANGED | AWAY,
}
CREATE: dict[str, Any] = {
    "parameters": [KEY, LOCATION, etag(201)],
    "responses": problem(400, "The body, or the key, is at fault.")
    | problem(409, "The first request with the key is still under way.")
    | problem(422, "The key came with another body before.")
    | AWAY
    | FULL,
}
GET: dict[str, Any] = {
    "parameters": [IF_NONE_MATCH, IF_MATCH, etag(200, 304)],
    "responses": UNCHANGED | NOT_FOUND | CHANGED | AWAY,
}
CANCEL: dict[str, Any] = {
    "parameters": [IF_MATCH, etag(200)],
    "responses": NOT_FOUND | problem(409, "The order was shipped.") | CHANGED | AWAY | FULL,
}
