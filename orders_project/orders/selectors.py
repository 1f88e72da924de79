"""Reads. Each takes the owner, and finds no order of another user."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.shortcuts import get_object_or_404

from chassis.pagination import Position

from .models import Order

FIELDS = ("id", "item", "quantity", "address", "status", "created_by", "created_at", "updated_at")
_OPERATORS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def order_get(*, owner: int, order_id: int) -> dict[str, Any]:
    order: dict[str, Any] = get_object_or_404(Order.objects.of(owner).values(*FIELDS), pk=order_id)
    return order


def order_page(
    *,
    owner: int,
    start: Position | None,
    limit: int,
    status: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> list[dict[str, Any]]:
    """Return the orders that follow the position, the nearest first.

    The one query in SQL: the ORM needs 0.4 ms of processor time to write it and SQLite 0.06 ms to run it, which is a
    third of what a list costs (docs/benchmarks.md). No value is part of the text.
    """
    wanted: dict[str, Any] = {
        "created_by = %s": owner,
        "status = %s": status,
        "created_at > %s": created_after,
        "created_at < %s": created_before,
    }
    conditions = {text: value for text, value in wanted.items() if value is not None}
    values = list(conditions.values())
    if start is not None:
        conditions[f"(created_at, id) {_OPERATORS[start.lookup]} (%s, %s)"] = start
        values += [datetime.fromisoformat(start.values[0]), int(start.values[1])]
    direction = "ASC" if start is not None and start.is_newer else "DESC"
    sql = (
        f"SELECT {', '.join(FIELDS)} FROM orders_order WHERE {' AND '.join(conditions)} "  # noqa: S608
        f"ORDER BY created_at {direction}, id {direction} LIMIT %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*map(connection.ops.adapt_unknown_value, values), limit])
        rows = [dict(zip(FIELDS, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:  # SQLite does not store that times are in UTC
        row.update(created_at=row["created_at"].replace(tzinfo=UTC), updated_at=row["updated_at"].replace(tzinfo=UTC))
    return rows
