"""Writes. Each is one transaction, durable when it returns."""

from django.db import transaction
from django.utils import timezone

from .models import Order
from .problems import Conflict
from .selectors import OrderRow, order_get
from .storage import write_turn


def order_create(*, owner: int, item: str, address: str, quantity: int = 1) -> Order:
    """Place an order for the owner and return it."""
    order = Order(created_by=owner, item=item, address=address, quantity=quantity)
    with write_turn():
        order.save(force_insert=True)
    return order


def order_cancel(*, owner: int, order_id: int) -> OrderRow:
    """Cancel the owner's order and return it; cancelling it again changes nothing.

    Raises `Http404` where the owner has no such order, `Conflict` where it has gone another way.
    """
    placed = Order.objects.of(owner).filter(id=order_id, status=Order.Status.PLACED)
    with write_turn(), transaction.atomic():
        placed.update(status=Order.Status.CANCELLED, updated_at=timezone.now())
        order = order_get(owner=owner, order_id=order_id)
    if order.status != Order.Status.CANCELLED:
        raise Conflict(f"Expected an order that is placed; this one is {order.status}.")
    return order
