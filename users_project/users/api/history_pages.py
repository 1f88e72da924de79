"""Cursor pages of a list in memory, in the shape of the other lists."""

from collections.abc import Sequence
from typing import TypeVar

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from chassis.pagination import LimitedPages, invalid_cursor, public_url

T = TypeVar("T")


class HistoryPages(LimitedPages):
    """Pages of entries that are newest first. A cursor counts from the oldest entry, so that new ones shift nothing."""

    def paginate(self, entries: Sequence[T], request: Request) -> Sequence[T]:
        limit = self.get_page_size(request)
        total = len(entries)
        cursor = request.query_params.get("cursor", str(total))
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19 and 0 < int(cursor) <= total):
            raise invalid_cursor()
        begin = total - int(cursor)
        self._url = public_url(request)
        self._next = str(int(cursor) - limit) if begin + limit < total else None
        previous = min(int(cursor) + limit, total)
        self._previous = str(previous) if previous > int(cursor) else None
        return entries[begin : begin + limit]

    def get_paginated_response(self, data: object) -> Response:
        return Response({"next": self._link(self._next), "previous": self._link(self._previous), "results": data})

    def _link(self, cursor: str | None) -> str | None:
        return (
            None if cursor is None else replace_query_param(remove_query_param(self._url, "cursor"), "cursor", cursor)
        )
