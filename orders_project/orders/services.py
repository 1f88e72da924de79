"""Writes. Each is one transaction, durable when it returns."""

from collections.abc import Callable

from django.db import transaction
from django.shortcuts import get_object_or_404

from chassis.problems import Conflict

from .models import Order
from .turns import write_turn


def order_create(*, owner: int, item: str, address: str, quantity: int = 1) -> Order:
    order = Order(created_by=owner, item=item, address=address, quantity=quantity)
    with write_turn():
        order.save()
    return order


@write_turn()
@transaction.atomic()
def order_cancel(*, owner: int, order_id: int, check: Callable[[Order], None]) -> Order:
    """Cancel the owner's order and return it; cancelling it again changes nothing.

    `check` receives the locked order and raises if the client has seen another version. A cancelled order is not
    checked: a client that lost the response repeats the request with the old tag (RFC 9110, section 13.1.1).
    """
    order = get_object_or_404(Order.objects.of(owner).select_for_update(), pk=order_id)
    if order.status == Order.Status.SHIPPED:
        raise Conflict("The order was shipped, so it cannot be cancelled.")
    if order.status == Order.Status.PLACED:
        check(order)
        order.status = Order.Status.CANCELLED
        order.save(update_fields=["status", "updated_at"])
    return order
