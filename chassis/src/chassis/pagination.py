"""Lists are cursor pages, newest first, in DRF's shape: `{"next", "previous", "results"}`."""

from typing import Any, Literal, NamedTuple

from django.core.signing import BadSignature, Signer
from django.db.models import Q
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param
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


class Position(NamedTuple):
    """Where a page begins: entries whose fields are less than (older) or greater than (newer) these values."""

    lookup: Literal["lt", "lte", "gt", "gte"]
    values: list[str]

    @property
    def is_newer(self) -> bool:
        return self.lookup.startswith("gt")


class CursorPages(LimitedPages):
    """Pages that begin right after an entry, so that entries added between two requests shift nothing.

    DRF's cursor is one value and an offset. This one holds a value for each field of `newest_by`, of which the last is
    unique, so entries that are equally new are on one page each. It is signed: a client cannot make one up.
    """

    newest_by: tuple[str, ...] = ("pk",)

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:  # noqa: ANN401  # DRF's
        limit, start = self.get_page_size(request), self._read_cursor(request)
        newer = start is not None and start.is_newer
        found = self.fetch(queryset, start, limit + 1)
        has_more, page = len(found) > limit, found[:limit]
        if newer:
            page.reverse()
        self._url = public_url(request)
        self._older = self._newer = None
        if newer or has_more:
            self._older = Position("lt", self._values(page[-1])) if page else start and Position("lte", start.values)
        if has_more if newer else start is not None:
            self._newer = Position("gt", self._values(page[0])) if page else start and Position("gte", start.values)
        return page

    def fetch(self, queryset: Any, start: Position | None, limit: int) -> list[Any]:  # noqa: ANN401  # a queryset, or what a subclass takes
        """Return the entries that follow the position, the nearest first."""
        if start is not None:
            queryset = queryset.filter(_beyond(self.newest_by, start))
        sign = "" if start is not None and start.is_newer else "-"
        return list(queryset.order_by(*(f"{sign}{name}" for name in self.newest_by))[:limit])

    def get_next_link(self) -> str | None:
        return self._link(self._older)

    def get_previous_link(self) -> str | None:
        return self._link(self._newer)

    def _read_cursor(self, request: Request) -> Position | None:
        cursor = request.query_params.get("cursor")
        if cursor is None:
            return None
        try:
            return Position(*self._signer().unsign_object(cursor))
        except BadSignature as exc:
            message = "Expected the cursor of a page's `next` or `previous` link."
            raise ValidationError({"cursor": [message]}) from exc

    def _link(self, position: Position | None) -> str | None:
        return position and replace_query_param(self._url, "cursor", self._signer().sign_object(position))

    def _signer(self) -> Signer:
        return Signer(salt=f"{type(self).__module__}.{type(self).__name__}")

    def _values(self, entry: Any) -> list[str]:  # noqa: ANN401  # a model's instance, or a dict of `.values()`
        return [str(entry[name] if isinstance(entry, dict) else getattr(entry, name)) for name in self.newest_by]


def _beyond(names: tuple[str, ...], start: Position) -> Q:
    """Return `(a, b) < (x, y)` as `a <= x and (a < x or b < y)`, which a database finds along an index."""
    *leading, last = zip(names, start.values, strict=True)
    condition = Q((f"{last[0]}__{start.lookup}", last[1]))
    strictly = start.lookup[:2]
    for name, value in reversed(leading):
        condition = Q((f"{name}__{strictly}e", value)) & (Q((f"{name}__{strictly}", value)) | condition)
    return condition


def public_url(request: Request) -> str:
    """Return the request's URL as the client sent it to the gateway, also if no setting trusts X-Forwarded-Host."""
    scheme, host = (request.META.get(f"HTTP_X_FORWARDED_{part}") for part in ("PROTO", "HOST"))
    if host and scheme in {"http", "https"}:
        return f"{scheme}://{host}{request.get_full_path()}"
    return str(request.build_absolute_uri())
