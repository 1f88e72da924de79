"""Reads. Each takes the owner: there is no way here to ask for somebody else's orders."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from django.db.models.query import RawQuerySet
from django.http import Http404

from .models import Order

COLUMNS = "id, item, quantity, address, status, created_by, created_at, updated_at"
CONDITIONS = {"status": "status = %s", "created_at__gt": "created_at > %s", "created_at__lt": "created_at < %s"}


@dataclass(frozen=True)
class OrdersOf:
    """An owner's orders, as far as a cursor page asks a query set for them: narrowed, ordered by time, and sliced.

    Its SQL is put together here, as Django takes longer to do so than SQLite takes to find a page.
    """

    owner: int
    conditions: tuple[tuple[str, object], ...] = ()
    newest_first: bool = True

    def filter(self, **conditions: object) -> Self:
        """Return those of them that meet the conditions too; a time may be text, in UTC, as a cursor has it."""
        return replace(self, conditions=(*self.conditions, *conditions.items()))

    def order_by(self, first: str, *rest: str) -> Self:
        """Return them by time and id, the newest first where the first name begins with a minus."""
        return replace(self, newest_first=first.startswith("-"))

    def __getitem__(self, wanted: slice) -> "RawQuerySet[Order]":
        """Return the orders from the slice's start to its stop."""
        way = "DESC" if self.newest_first else "ASC"
        where = "".join(f" AND {CONDITIONS[name]}" for name, _ in self.conditions)
        # Nothing that a client says is in the text, which has places for it.
        sql = (
            f"SELECT {COLUMNS} FROM orders_order WHERE created_by = %s{where} "  # noqa: S608
            f"ORDER BY created_at {way}, id {way} LIMIT %s OFFSET %s"
        )
        values = [value if name == "status" else as_time(value) for name, value in self.conditions]
        return RawQuerySet(sql, model=Order, params=(self.owner, *values, wanted.stop - wanted.start, wanted.start))


def as_time(value: object) -> object:
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


def order_get(*, owner: int, order_id: int) -> Order:
    """Return the owner's order; raise `Http404` where it is none of the owner's, or none at all."""
    order = Order.objects.of(owner).filter(id=order_id).first()
    if order is None:
        raise Http404
    return order
