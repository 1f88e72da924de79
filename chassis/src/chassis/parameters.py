"""Parameters of conditional requests, for `extend_schema(parameters=[…])`.

They have no pattern: what is not a list of tags is ignored by some views, and 400 at others.
"""

from drf_spectacular.utils import OpenApiParameter

IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of an earlier response: 304 if nothing changed.",
)
IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="The `ETag` of an earlier response: 412 if something changed."
)
