"""Writes. Each is one transaction, durable when it returns."""

from django.db import transaction

from .models import Order
from .selectors import order_get


def order_create(*, owner: int, item: str, address: str, quantity: int = 1) -> Order:
    """Place an order for the owner and return it."""
    return Order.objects.create(created_by=owner, item=item, address=address, quantity=quantity)


@transaction.atomic
def order_cancel(*, owner: int, order_id: int) -> Order:
    """Cancel the owner's order and return it; cancelling it again changes nothing. Raises `Http404`."""
    order = order_get(owner=owner, order_id=order_id)
    if order.status != Order.Status.CANCELLED:
        order.status = Order.Status.CANCELLED
        order.save(update_fields=["status", "updated_at"])
    return order
