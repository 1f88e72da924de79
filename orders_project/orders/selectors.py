"""Reads. Each takes the owner: there is no way here to ask for somebody else's orders."""

from datetime import UTC, datetime
from typing import NamedTuple

from django.db import connection
from django.http import Http404

Value = datetime | str | int
# Of the database's `bigint`.
MAX_ID = 2**63 - 1


class OrderRow(NamedTuple):
    """An order as read: the columns of `Order`. It cannot be saved, and costs a tenth of what Django's objects do."""

    id: int
    item: str
    quantity: int
    address: str
    status: str
    created_by: int
    created_at: datetime
    updated_at: datetime


class Place(NamedTuple):
    """A place in a list, and the direction in which orders are read from there.

    The older ones are those less than (`created_at`, `id`), the newer ones those greater.
    """

    created_at: datetime
    id: int
    newest_first: bool = True


COLUMNS = ", ".join(OrderRow._fields)


def orders_of(
    *,
    owner: int,
    limit: int,
    begin: Place | None = None,
    status: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> list[OrderRow]:
    """Return at most `limit` of the owner's orders: those of that status, made after and before those moments.

    The newest come first, or the oldest where `begin` leads to what is newer than it.
    """
    found: list[tuple[str, tuple[Value, ...]]] = [("created_by = %s", (owner,))]
    if status is not None:
        found.append(("status = %s", (status,)))
    if created_after is not None:
        found.append(("created_at > %s", (created_after,)))
    if created_before is not None:
        found.append(("created_at < %s", (created_before,)))
    if begin is None:
        return rows(found, limit)
    sign = "<" if begin.newest_first else ">"
    found.append((f"(created_at, id) {sign} (%s, %s)", begin[:2]))
    return rows(found, limit, newest_first=begin.newest_first)


def order_get(*, owner: int, order_id: int, for_update: bool = False) -> OrderRow:
    """Return the owner's order; raise `Http404` where it is none of the owner's, or none at all.

    `for_update` keeps it as it is until the end of the transaction, which SQLite, with one writer, does anyhow.
    """
    if order_id > MAX_ID:
        raise Http404
    lock = " FOR UPDATE" if for_update and connection.vendor == "postgresql" else ""
    found = rows([("created_by = %s", (owner,)), ("id = %s", (order_id,))], 1, suffix=lock)
    if not found:
        raise Http404
    return found[0]


def rows(
    conditions: list[tuple[str, tuple[Value, ...]]], limit: int, *, newest_first: bool = True, suffix: str = ""
) -> list[OrderRow]:
    """Return the orders that meet all conditions, each with its values.

    The SQL is put together here, as Django takes longer to do so than SQLite takes to find a page. Nothing that a
    client says is in the text, which has places for it.
    """
    way = "DESC" if newest_first else "ASC"
    where = " AND ".join(condition for condition, _ in conditions)
    order = f"created_at {way}, id {way}"
    sql = f"SELECT {COLUMNS} FROM orders_order WHERE {where} ORDER BY {order} LIMIT %s{suffix}"  # noqa: S608
    values = [connection.ops.adapt_unknown_value(value) for _, values in conditions for value in values]
    with connection.cursor() as cursor:
        cursor.execute(sql, (*values, limit))
        found = cursor.fetchall()
    # UTC, which SQLite does not say.
    return [OrderRow._make((*row[:-2], row[-2].replace(tzinfo=UTC), row[-1].replace(tzinfo=UTC))) for row in found]
