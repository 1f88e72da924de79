"""Reads. Each takes the owner: there is no way here to ask for somebody else's orders."""

from datetime import datetime

from django.db.models import QuerySet
from django.http import Http404

from .models import Order


def orders_of(
    *,
    owner: int,
    status: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> QuerySet[Order]:
    """Return the owner's orders, newest first: those of that status, made after and before those moments."""
    orders = Order.objects.of(owner)
    if status is not None:
        orders = orders.filter(status=status)
    if created_after is not None:
        orders = orders.filter(created_at__gt=created_after)
    if created_before is not None:
        orders = orders.filter(created_at__lt=created_before)
    return orders


def order_get(*, owner: int, order_id: int) -> Order:
    """Return the owner's order; raise `Http404` where it is none of the owner's, or none at all."""
    order = Order.objects.of(owner).filter(id=order_id).first()
    if order is None:
        raise Http404
    return order
