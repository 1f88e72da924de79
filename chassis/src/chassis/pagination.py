"""Lists are cursor pages, newest first, in DRF's shape: `{"next", "previous", "results"}`."""

import base64
from typing import Any

from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

# The query parameters of a list, beside its filters.
PARAMETERS = ("cursor", "limit")


class LimitedPages(CursorPagination):
    """The `limit` of a page, 1 to 200 and 50 by default, and how OpenAPI describes a page."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"

    def get_page_size(self, request: Request) -> int:
        limit = request.query_params.get("limit", str(self.page_size))
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= self.max_page_size):
            raise ValidationError({"limit": [f"Expected a whole number from 1 to {self.max_page_size}."]})
        return int(limit)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        limit = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return [
            {
                "name": "cursor",
                "in": "query",
                "description": "Where the page begins.",
                "schema": {"type": "string", "minLength": 1},
            },
            {"name": "limit", "in": "query", "description": "Entries a page.", "schema": limit},
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page: dict[str, Any] = super().get_paginated_response_schema(schema)
        for name in ("next", "previous"):
            del page["properties"][name]["example"]  # of another API
        return page | {"required": ["next", "previous", "results"]}


class CursorPages(LimitedPages):
    """Pages by primary key, so that entries added between two requests shift nothing."""

    ordering: str | tuple[str, ...] = "-pk"

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any] | None:  # noqa: ANN401  # DRF's
        page: list[Any] | None = super().paginate_queryset(queryset, request, view)
        self.base_url = public_url(request)
        return page

    def decode_cursor(self, request: Request) -> Cursor | None:
        encoded = request.query_params.get("cursor")
        if encoded is None:
            return None
        try:
            base64.b64decode(encoded, validate=True)  # DRF ignores characters outside of base64
            cursor: Cursor | None = super().decode_cursor(request)
        except (NotFound, ValueError) as exc:
            raise invalid_cursor() from exc
        if not encoded:
            raise invalid_cursor()
        if cursor is not None and cursor.position is not None and not self.is_position(str(cursor.position)):
            raise invalid_cursor()
        return cursor

    def is_position(self, text: str) -> bool:
        """Return whether a page can begin there. Override it for a primary key that is not a number."""
        return text.isascii() and text.isdigit() and len(text) <= 19


def public_url(request: Request) -> str:
    """Return the request's URL as the client sent it to the gateway, also if no setting trusts X-Forwarded-Host."""
    scheme, host = (request.META.get(f"HTTP_X_FORWARDED_{part}") for part in ("PROTO", "HOST"))
    if host and scheme in {"http", "https"}:
        return f"{scheme}://{host}{request.get_full_path()}"
    return str(request.build_absolute_uri())


def invalid_cursor() -> ValidationError:
    return ValidationError({"cursor": ["Expected the cursor of a page's `next` or `previous` link."]})
