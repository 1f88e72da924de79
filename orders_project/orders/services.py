"""Writes. Each is one transaction, durable when it returns."""

from collections.abc import Callable

from django.db import transaction
from django.utils import timezone

from .models import Order
from .problems import Conflict
from .selectors import OrderRow, order_get
from .turns import write_turn


def order_create(*, owner: int, item: str, address: str, quantity: int = 1) -> Order:
    """Place an order for the owner and return it.

    Its time is taken once SQLite is ours to write to, so that none appears behind a newer one that was seen before.
    """
    order = Order(created_by=owner, item=item, address=address, quantity=quantity)
    with write_turn(), transaction.atomic(savepoint=False):
        order.save(force_insert=True)
    return order


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
