"""Lists are cursor pages, newest first, in DRF's shape: `{"next", "previous", "results"}`.

This file is the same in the gateway and in users.
"""

import base64
from typing import Any

from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

# What the query of a list may say, beside its filters.
PARAMETERS = ("cursor", "limit")


class Pages(CursorPagination):
    """Pages of `?limit=` (1 to 200, default 50) entries from `?cursor=` on.

    The cursor is an id, so that what is added meanwhile shifts nothing.
    """

    ordering: str | tuple[str, ...] = "-id"
    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"

    def get_page_size(self, request: Request) -> int:
        """Return the limit asked for; 400 where it is none."""
        limit = request.query_params.get("limit", str(self.page_size))
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= self.max_page_size):
            raise ValidationError({"limit": [f"Expected a whole number from 1 to {self.max_page_size}."]})
        return int(limit)

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Return the cursor asked for; 400 where it is none that a page of ours has named."""
        invalid = ValidationError({"cursor": ["Expected the cursor of a page's `next` or `previous` link."]})
        encoded = request.query_params.get("cursor")
        if encoded is None:
            return None
        try:
            # DRF's decoding passes over what is no base64.
            base64.b64decode(encoded, validate=True)
            cursor: Cursor | None = super().decode_cursor(request)
        except (NotFound, ValueError) as exc:
            raise invalid from exc
        if not encoded:
            raise invalid
        if cursor is not None and cursor.position is not None and not self.is_position(str(cursor.position)):
            raise invalid
        return cursor

    def is_position(self, text: str) -> bool:
        """Return whether a page of ours can begin there."""
        return text.isascii() and text.isdigit() and len(text) <= 19

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Return what OpenAPI says of `cursor` and `limit`; DRF's does not know the bounds."""
        limit = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return [
            {"name": "cursor", "in": "query", "description": "Where a page begins.", "schema": {"type": "string"}},
            {"name": "limit", "in": "query", "description": "Entries a page.", "schema": limit},
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return what OpenAPI says of a page; DRF's has examples of another API."""
        page: dict[str, Any] = super().get_paginated_response_schema(schema)
        for name in ("next", "previous"):
            del page["properties"][name]["example"]
        return page | {"required": ["next", "previous", "results"]}
