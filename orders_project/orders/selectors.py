"""Reads. Each takes the owner: there is no way here to ask for somebody else's orders."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple, Self

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


COLUMNS = ", ".join(OrderRow._fields)
CONDITIONS = {
    "id": "id = %s",
    "status": "status = %s",
    "created_at__gt": "created_at > %s",
    "created_at__lt": "created_at < %s",
}


@dataclass(frozen=True)
class OrdersOf:
    """An owner's orders, as far as a cursor page asks a query set for them: narrowed, ordered by time, and sliced.

    Its SQL is put together here, as Django takes longer to do so than SQLite takes to find a page.
    """

    owner: int
    conditions: tuple[tuple[str, Value], ...] = ()
    newest_first: bool = True

    def filter(self, **conditions: Value) -> Self:
        """Return those of them that meet the conditions too; a time may be text, in UTC, as a cursor has it."""
        return replace(self, conditions=(*self.conditions, *conditions.items()))

    def order_by(self, first: str, *rest: str) -> Self:
        """Return them by time and id, the newest first where the first name begins with a minus."""
        return replace(self, newest_first=first.startswith("-"))

    def __getitem__(self, wanted: slice) -> list[OrderRow]:
        """Return the orders from the slice's start to its stop."""
        way = "DESC" if self.newest_first else "ASC"
        where = "".join(f" AND {CONDITIONS[name]}" for name, _ in self.conditions)
        # Nothing that a client says is in the text, which has places for it.
        sql = (
            f"SELECT {COLUMNS} FROM orders_order WHERE created_by = %s{where} "  # noqa: S608
            f"ORDER BY created_at {way}, id {way} LIMIT %s OFFSET %s"
        )
        start = wanted.start or 0
        values = [
            connection.ops.adapt_unknown_value(as_time(value) if name.startswith("created_at") else value)
            for name, value in self.conditions
        ]
        with connection.cursor() as cursor:
            cursor.execute(sql, (self.owner, *values, wanted.stop - start, start))
            rows = cursor.fetchall()
        # UTC, which SQLite does not say.
        return [OrderRow._make((*row[:-2], row[-2].replace(tzinfo=UTC), row[-1].replace(tzinfo=UTC))) for row in rows]


def as_time(value: Value) -> Value:
    """Return the time, read where it is written out."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def orders_of(
    *,
    owner: int,
    status: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> OrdersOf:
    """Return the owner's orders, newest first: those of that status, made after and before those moments."""
    wanted = {"status": status, "created_at__gt": created_after, "created_at__lt": created_before}
    return OrdersOf(owner).filter(**{name: value for name, value in wanted.items() if value is not None})


def order_get(*, owner: int, order_id: int) -> OrderRow:
    """Return the owner's order; raise `Http404` where it is none of the owner's, or none at all."""
    found = OrdersOf(owner).filter(id=order_id)[:1] if order_id <= MAX_ID else []
    if not found:
        raise Http404
    return found[0]
