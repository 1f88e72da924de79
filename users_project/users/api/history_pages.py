"""Cursor pages of a list in memory."""

import operator
from typing import Any

from chassis.pagination import CursorPages, Position

_COMPARISONS = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}


class HistoryPages(CursorPages):
    """Pages of changes, which come newest first and are numbered from the oldest."""

    newest_by = ("number",)

    def fetch(self, queryset: Any, start: Position | None, limit: int) -> list[Any]:  # noqa: ANN401  # the changes
        if start is not None:
            fits, number = _COMPARISONS[start.lookup], int(start.values[0])
            queryset = [change for change in queryset if fits(change.number, number)]
            queryset = queryset[::-1] if start.is_newer else queryset
        return list(queryset[:limit])
