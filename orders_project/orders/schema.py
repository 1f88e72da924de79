"""What the OpenAPI document says of these operations beside their bodies: headers, and which problems come when."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from chassis.problems import MEDIA_TYPE

from .idempotency import BARE, KEPT_FOR, MAX_LENGTH, QUOTED

HOURS = KEPT_FOR.total_seconds() / 3600


def asked(name: str, description: str, schema: dict[str, Any] | None = None) -> OpenApiParameter:
    """Return a header of the request."""
    return OpenApiParameter(name, schema or str, OpenApiParameter.HEADER, description=description)


def answered(name: str, description: str, *statuses: int, kind: type = str) -> OpenApiParameter:
    """Return a header of the answers of those statuses."""
    return OpenApiParameter(
        name, kind, OpenApiParameter.HEADER, description=description, response=[str(status) for status in statuses]
    )


def problem(status: int, description: str) -> dict[Any, OpenApiResponse]:
    """Return a problem among an operation's responses."""
    return {
        (status, MEDIA_TYPE): OpenApiResponse({"$ref": "#/components/schemas/Problem"}, description=description),
    }


IF_NONE_MATCH = asked("If-None-Match", "The `ETag` of an earlier answer: 304 if nothing changed.")
IF_MATCH = asked("If-Match", "The `ETag` of an earlier answer: 412 if something changed.")
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


def retry_after(*statuses: int) -> OpenApiParameter:
    """Return the `Retry-After` of those answers."""
    return answered("Retry-After", "Seconds after which trying again makes sense.", *statuses, kind=int)


LIST: dict[str, Any] = {
    "parameters": [IF_NONE_MATCH, IF_MATCH, etag(200, 304), retry_after(503)],
    "responses": UNCHANGED | problem(400, "A parameter is at fault.") | CHANGED | AWAY,
}
CREATE: dict[str, Any] = {
    "parameters": [KEY, LOCATION, etag(201), retry_after(409, 503, 507)],
    "responses": problem(400, "The body, or the key, is at fault.")
    | problem(409, "The first request with the key is still under way.")
    | problem(422, "The key came with another body before.")
    | AWAY
    | FULL,
}
GET: dict[str, Any] = {
    "parameters": [IF_NONE_MATCH, IF_MATCH, etag(200, 304), retry_after(503)],
    "responses": UNCHANGED | NOT_FOUND | CHANGED | AWAY,
}
CANCEL: dict[str, Any] = {
    "parameters": [IF_MATCH, etag(200), retry_after(503, 507)],
    "responses": NOT_FOUND | problem(409, "The order was shipped.") | CHANGED | AWAY | FULL,
}


def refuse_unknown(result: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    """Say that a body with a field that is not described is refused: drf-spectacular's post-processing hook."""
    schemas = result["components"]["schemas"]
    for operation in (operation for path in result["paths"].values() for operation in path.values()):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schemas[content["schema"]["$ref"].rpartition("/")[2]]["additionalProperties"] = False
    return result
