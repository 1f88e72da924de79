"""Pages of orders, newest first: each begins right after an order, whatever is added meanwhile, and with any ties.

DRF's own cursor is a time and an offset: of orders made in the same moment it counts, and shows some twice or never.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from chassis.pagination import LimitedPages, invalid_cursor

from .selectors import MAX_ID, OrderRow, Place

# Characters of a cursor's text: a direction, a time and an id of 64 bits.
MAX_LENGTH = 1 + 26 + 1 + 19
NEWER, OLDER = ">", "<"


def read(cursor: str) -> Place:
    """Return the place that the cursor names; raise `ValueError` where it is none that `written` returns."""
    text = base64.b64decode(cursor, validate=True).decode("ascii")
    moment, comma, number = text[1:].partition(",")
    if not (text[:1] in {NEWER, OLDER} and comma and number.isdigit() and len(text) <= MAX_LENGTH):
        raise ValueError("expected a direction, a time and an id")
    place = Place(datetime.fromisoformat(moment).replace(tzinfo=UTC), int(number), text[0] == OLDER)
    if place.id > MAX_ID or written(place) != cursor:
        raise ValueError("expected the time and the id as they are written")
    return place


def written(place: Place) -> str:
    """Return the place as a link has it."""
    moment = place.created_at.replace(tzinfo=None).isoformat()
    return base64.b64encode(f"{OLDER if place.newest_first else NEWER}{moment},{place.id}".encode()).decode()


class OrderPages(LimitedPages):
    """Pages of `?limit=` (1 to 200, default 50) orders from `?cursor=` on, in DRF's shape and OpenAPI.

    They go along `created_at`, as the filters need; of orders made in the same microsecond, the later id comes first.
    """

    def page_of(self, request: Request, find: Callable[..., list[OrderRow]]) -> dict[str, Any]:
        """Return the page asked for, its results rows. `find` returns at most `limit` orders from the place `begin` on.

        Raises `ValidationError` where a page cannot begin there, or be of that length.
        """
        asked, limit = self.beginning(request), self.get_page_size(request)
        rows = find(begin=asked, limit=limit + 1)
        more = len(rows) > limit
        del rows[limit:]
        newer, older = asked is not None, more
        if asked is not None and not asked.newest_first:
            rows.reverse()
            newer, older = more, True
        return {
            "next": self.link(request, below(rows, asked)) if older else None,
            "previous": self.link(request, above(rows, asked)) if newer else None,
            "results": rows,
        }

    def beginning(self, request: Request) -> Place | None:
        """Return the place that the cursor names, `None` without one; 400 where it is none that a page has named."""
        cursor = request.query_params.get("cursor")
        if cursor is None:
            return None
        try:
            return read(cursor)
        except ValueError as exc:
            raise invalid_cursor() from exc

    def link(self, request: Request, place: Place) -> str:
        """Return the request's own URL, to begin at that place."""
        return str(replace_query_param(request.build_absolute_uri(), "cursor", written(place)))


def below(rows: list[OrderRow], asked: Place | None) -> Place:
    """Return where the older orders begin; beside an empty page, those take in the order at the place itself."""
    if rows:
        return Place(rows[-1].created_at, rows[-1].id)
    at = cast("Place", asked)  # an empty page of no cursor has no links
    return Place(at.created_at, min(at.id + 1, MAX_ID))


def above(rows: list[OrderRow], asked: Place | None) -> Place:
    """Return where the newer orders begin, likewise."""
    if rows:
        return Place(rows[0].created_at, rows[0].id, newest_first=False)
    at = cast("Place", asked)
    return Place(at.created_at, max(at.id - 1, 0), newest_first=False)
