"""Reads. Each takes the owner: there is no way here to ask for somebody else's orders."""

from django.db.models import QuerySet
from django.http import Http404

from .models import Order


def orders_of(*, owner: int) -> QuerySet[Order]:
    """Return the owner's orders, newest first."""
    return Order.objects.filter(created_by=owner)


def order_get(*, owner: int, order_id: int) -> Order:
    """Return the owner's order; raise `Http404` where it is none of the owner's, or none at all."""
    order = orders_of(owner=owner).filter(id=order_id).first()
    if order is None:
        raise Http404
    return order
