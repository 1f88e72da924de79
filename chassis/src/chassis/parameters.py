"""Parameters of conditional requests, for `extend_schema(parameters=[…])`."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

# Another value is 400 in `If-Match`, and is ignored in `If-None-Match`.
_TAG = r'(W/)?"[^"]*"'
_TAGS: dict[str, Any] = {"type": "string", "pattern": rf"^(\*|{_TAG}( *, *{_TAG})*)$"}

IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of an earlier response: 304 if nothing changed.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    _TAGS,
    OpenApiParameter.HEADER,
    description="The `ETag` of an earlier response: 412 if something changed.",
)
