"""The audit trail: sign-ins, ended sessions, keys, changes at services with `audit`, and configurations.

Entries are in the gateway's database, so that they are of all workers and replicas. They hold no password and no token.
The username of a failed sign-in is as typed, and people type passwords there by mistake: only admins read the trail.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from chassis import logs
from gateway import config_events

from .models import AuditEntry
from .purges import Purge

# Seconds between two purges by one worker, and between two entries of one client whose sign-ins are slowed down.
PURGE_EVERY: Final = 3600
THROTTLED_EVERY: Final = 60.0
MAX_THROTTLED: Final = 10_000
# Entries that are kept, some 300 MB: guessing passwords from many addresses must not fill the disk.
MAX_ENTRIES: Final = 1_000_000
# Characters of an entry's detail: the changed users of a bulk action.
MAX_DETAIL: Final = 4100
# Entries of an export: some 30 MB.
MAX_EXPORTED: Final = 100_000


class Event(StrEnum):
    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGN_IN_THROTTLED = "sign_in_throttled"
    SIGNED_OUT = "signed_out"
    SESSIONS_ENDED = "sessions_ended"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"  # no password
    KEY_ADDED = "key_added"
    KEYS_REPLACED = "keys_replaced"
    CHANGED = "changed"
    CONFIG_LOADED = "config_loaded"
    CONFIG_REJECTED = "config_rejected"


# When each network whose sign-ins are slowed down was last noted.
throttled_at: dict[str, float] = {}


def record(
    event: Event,
    *,
    user_id: str = "",
    username: str = "",
    by: str = "",
    address: str = "",
    session: str = "",
    detail: str = "",
    at: datetime | None = None,
) -> None:
    """Add an entry of the request under way, of a command, or of what happened `at` an earlier time."""
    purge.when_due()
    AuditEntry.objects.create(
        at=at or timezone.now(),
        event=event,
        user_id=user_id[:64],
        username=printable(username)[:150],
        by=by[:150],
        client_address=address[:45],
        session=session,
        request_id=logs.request_id.get(),
        detail=detail if len(detail) <= MAX_DETAIL else f"{detail[: MAX_DETAIL - 1]}…",
    )


def record_throttled(*, username: str, address: str, network: str) -> None:
    """Add an entry for a network whose sign-ins are slowed down, once a minute: each costs the attacker nothing."""
    now = time.monotonic()
    if now - throttled_at.get(network, -THROTTLED_EVERY) < THROTTLED_EVERY:
        return
    if len(throttled_at) >= MAX_THROTTLED:
        throttled_at.clear()
    throttled_at[network] = now
    record(Event.SIGN_IN_THROTTLED, username=username, address=address)


def record_config_events() -> None:
    """Add the events of gateway.yaml that gunicorn's master has left."""

    def add(found: config_events.ConfigEvent) -> None:
        at = datetime.fromtimestamp(found.at, UTC)
        record(Event(found.event), by=found.by, detail=found.detail, at=at)

    config_events.take(settings.STATE, add)


def printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def entries(
    event: str = "", user: str = "", address: str = "", detail: str = "", *, before: int | None = None
) -> QuerySet[AuditEntry]:
    """Return the entries that all given filters match, newest first.

    `user` is a name, an id, or who did it; `detail` is a part of the detail.
    """
    found = AuditEntry.objects.all()
    if event:
        found = found.filter(event=event)
    if user:
        found = found.filter(Q(username__iexact=user) | Q(user_id=user) | Q(by__iexact=user))
    if address:
        found = found.filter(client_address=address)
    if detail:
        found = found.filter(detail__icontains=detail)
    return found if before is None else found.filter(pk__lt=before)


def exported(found: QuerySet[AuditEntry]) -> Iterator[dict[str, str]]:
    """Yield the entries as JSON objects, without empty values."""
    for entry in found[:MAX_EXPORTED].iterator(chunk_size=1000):
        values = {
            "time": entry.at.isoformat(timespec="milliseconds"),
            "event": entry.event,
            "user_id": entry.user_id,
            "username": entry.username,
            "by": entry.by,
            "client": entry.client_address,
            "session": entry.session,
            "request_id": entry.request_id,
            "detail": entry.detail,
        }
        yield {name: value for name, value in values.items() if value not in {"", "-"}}


def audit_purge(capacity: int = MAX_ENTRIES) -> None:
    """Delete what is older than AUDIT_DAYS, and beyond `MAX_ENTRIES` the oldest."""
    AuditEntry.objects.filter(at__lt=timezone.now() - timedelta(days=settings.AUDIT_DAYS)).delete()
    for last in AuditEntry.objects.values_list("pk", flat=True)[capacity : capacity + 1]:
        AuditEntry.objects.filter(pk__lte=last).delete()


purge = Purge(PURGE_EVERY, audit_purge)
