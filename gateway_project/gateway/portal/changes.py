"""Requests that may change something, in the audit trail: those of routes with `audit`, but for GET, HEAD and OPTIONS.

A service may name in the header `Audit-Detail` what it has changed. The header is for the trail; no client gets it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import DatabaseError

from gateway.admission import Decision
from gateway.identity import audit
from gateway.policy.headers import AUDIT_DETAIL, Headers, for_client, values
from gateway.policy.origins import SAFE_METHODS
from gateway.policy.rejections import UpstreamDisconnected, UpstreamTimeout
from gateway.upstreams import ClientLeft

log = logging.getLogger(__name__)
# After these the service may have made the change.
UNCERTAIN: Final = (ClientLeft, UpstreamDisconnected, UpstreamTimeout)


def is_recorded(decision: Decision) -> bool:
    return decision.match.prepared.is_audited and decision.request.method not in SAFE_METHODS


@contextmanager
def recording_uncertain(decision: Decision) -> Iterator[None]:
    """Record a request that has no response, if the service may have received it."""
    try:
        yield
    except UNCERTAIN as failed:
        if is_recorded(decision):
            record(decision, failed.status)
        raise


def recorded(decision: Decision, status: int, headers: Headers) -> Headers:
    """Record the request if it succeeded. Return the service's headers without `Audit-Detail`.

    An empty one means that nothing was changed, as by a form with a mistake.
    """
    if is_recorded(decision) and status < 400:
        named = values(headers, AUDIT_DETAIL)
        if any(named) or not named:
            record(decision, status, ", ".join(named))
    return for_client(headers)


def record(decision: Decision, status: int, changes: str = "") -> None:
    """Add an entry. Without a database the request goes on: the service has made the change."""
    request, identity = decision.request, decision.identity
    detail = audit.printable(f"{request.method} {request.path} {status}{': ' * bool(changes)}{changes}")
    try:
        audit.record(
            audit.Event.CHANGED,
            by=identity.username if identity else "",
            address=request.headers.address,
            session=identity.session if identity else "",
            detail=detail,
        )
    except DatabaseError:
        log.exception("Not in the audit trail: %s", detail)
