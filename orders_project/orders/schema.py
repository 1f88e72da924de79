"""Headers and responses in the OpenAPI document. The chassis adds those that follow from what an operation takes."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from chassis.parameters import IF_MATCH, IF_NONE_MATCH

from .idempotency import KEEP_FOR, KEY


def _sent(name: str, description: str, *statuses: int) -> OpenApiParameter:
    """Return a header of the responses with these statuses."""
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, description=description, response=list(map(str, statuses))
    )


def _etag(*statuses: int) -> OpenApiParameter:
    return _sent("ETag", "The value for `If-None-Match` and `If-Match`.", *statuses)


def _described(descriptions: dict[int, str]) -> dict[Any, OpenApiResponse]:
    return {status: OpenApiResponse(description=text) for status, text in descriptions.items()}


IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": f"^({KEY.pattern.replace('?P<quoted>', '').replace('?P<bare>', '')})$"},
    OpenApiParameter.HEADER,
    description="A key of your choice. The same request with the same key gets the first response again, "
    f"for {KEEP_FOR.total_seconds() / 3600:.0f} hours.",
)
CONDITIONAL = [IF_NONE_MATCH, IF_MATCH, _etag(200, 304)]
CREATE_HEADERS = [IDEMPOTENCY_KEY, _sent("Location", "The path of the order.", 201), _etag(201)]
CANCEL_HEADERS = [IF_MATCH, _etag(200)]

_DOWN = {503: "The database or the gateway's keys are down. The detail states what was stored."}
_WRITE = _DOWN | {507: "No storage space is left. Nothing was stored."}
READ = _described(_DOWN | {304: "Nothing changed since the response with that `ETag`."})
CREATE = _described(_WRITE | {422: "The key came with another body before."})
CANCEL = _described(_WRITE | {409: "The order was shipped."})
