"""Reads on sessions."""

from django.db.models import QuerySet
from django.utils import timezone

from .models import Session


def sessions_of(user_id: str) -> QuerySet[Session]:
    """Return the user's sessions that have neither ended nor expired, newest first."""
    living = Session.objects.filter(user_id=user_id, ended_at=None, expires_at__gt=timezone.now())
    return living.order_by("-created_at")
