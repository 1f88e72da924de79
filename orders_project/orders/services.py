"""Writes. Each is one transaction, durable when it returns."""

from collections.abc import Callable

from django.db import connection, transaction
from django.utils import timezone

from chassis.problems import Conflict

from .models import Order
from .selectors import OrderRow, order_get
from .turns import write_turn

COLUMNS = OrderRow._fields[1:]
INSERT = f'INSERT INTO "orders_order" ({", ".join(COLUMNS)}) VALUES ({", ".join(["%s"] * len(COLUMNS))})'  # noqa: S608


def order_create(*, owner: int, item: str, address: str, quantity: int = 1) -> OrderRow:
    """Place an order for the owner and return it.

    Its time is taken once SQLite is ours to write to, so that none appears behind a newer one that was seen before.
    """
    with write_turn(), transaction.atomic(savepoint=False):
        now = timezone.now()
        order = OrderRow(0, item, quantity, address, Order.Status.PLACED.value, owner, now, now)
        return order._replace(id=insert(order))


def insert(order: OrderRow) -> int:
    """Store the order, whatever its id, and return the one that it got.

    The SQL is put together here, as Django takes longer to do so than SQLite takes over it.
    """
    returning = ' RETURNING "id"' if connection.vendor == "postgresql" else ""  # SQLite knows it from 3.35 on only
    with connection.cursor() as cursor:
        cursor.execute(INSERT + returning, [connection.ops.adapt_unknown_value(value) for value in order[1:]])
        return int(cursor.fetchone()[0] if returning else cursor.lastrowid)


def order_cancel(*, owner: int, order_id: int, check: Callable[[OrderRow], None]) -> OrderRow:
    """Cancel the owner's order and return it; cancelling it again changes nothing.

    `check` is called with the order as nobody else can change it meanwhile, and raises where it is not to be cancelled.
    One that is cancelled is not checked: who lost the first answer asks again with what held then (RFC 9110, 13.1.1).
    Raises `Http404` where the owner has no such order, `Conflict` where it has gone another way.
    """
    with write_turn(), transaction.atomic():
        order = order_get(owner=owner, order_id=order_id, for_update=True)
        if order.status not in {Order.Status.PLACED, Order.Status.CANCELLED}:
            raise Conflict(f"Expected an order that is placed; this one is {order.status}.")
        if order.status == Order.Status.PLACED:
            check(order)
            order = order._replace(status=Order.Status.CANCELLED.value, updated_at=timezone.now())
            Order.objects.of(owner).filter(id=order_id).update(status=order.status, updated_at=order.updated_at)
    return order
