"""Sign-ins by password, slowed down where passwords are guessed; counted in the database, for all workers together.

Failures count for the username and for the client's network (see `policy.backoff`). For a user who has signed in from
a network before, only the failures of that pair count there, so that guessing elsewhere cannot keep the user out.
"""

import hashlib
import logging
import time
from typing import NamedTuple

from django.conf import settings
from django.db import transaction

from gateway.policy import backoff, clients
from gateway.policy.backoff import Allowance
from gateway.policy.rejections import (
    CircuitOpen,
    PassportRejected,
    RateLimited,
    RouteNotFound,
    UpstreamConnectError,
    UpstreamOverloaded,
)

from . import audit
from .audit import Event
from .credentials import Account, LoginClient
from .models import Attempts
from .purges import Purge

log = logging.getLogger(__name__)

# Seconds since the last sign-in for which a username's network is remembered.
KNOWN_FOR = 90 * 86400
# Rows of about 100 bytes; beyond that, those that expire first are deleted.
MAX_ROWS = 100_000
# Raised if the attempt did not reach the login service. After other errors the outcome is unknown: a service that
# fails for wrong passwords alone must not make guessing free.
NOT_REACHED = (RouteNotFound, PassportRejected, UpstreamOverloaded, UpstreamConnectError, CircuitOpen)
# Seconds between two purges by a worker.
PURGE_EVERY = 60


class Subjects(NamedTuple):
    """The keys of the rows that an attempt counts in."""

    username: str
    network: str
    pair: str


class SignInThrottled(RateLimited):
    """Too many sign-ins failed, from this network or of this name, whether or not the user exists."""


def key(*words: str) -> str:
    """Return a keyed hash: the database contains neither the words nor anything to guess them by."""
    text = "\0".join(words).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16, key=settings.SECRET_KEY.encode()[:64]).hexdigest()


def subjects(username: str, address: str) -> Subjects:
    """Return the rows that an attempt of that name, from that address, counts in."""
    name, network = backoff.username(username), clients.network(address)
    return Subjects(key("username", name), key("network", network), key("pair", name, network))


def allowance(subject: str, who: Subjects) -> Allowance:
    free = settings.LOGIN_FREE_TRIES_PER_ADDRESS if subject == who.network else settings.LOGIN_FREE_TRIES
    return Allowance(free, settings.LOGIN_LONGEST_WAIT)


def account_by_password(login: LoginClient, *, username: str, password: str, address: str) -> Account | None:
    """Return the account whose password this is, `None` for a wrong one.

    `address` is the client's. Raise `SignInThrottled` (429) after too many failures, before any request. Each of
    several attempts at the same time counts as failed until its outcome is known.
    """
    who = subjects(username, address)
    try:
        attempt_begin(who)
    except SignInThrottled:
        audit.record_throttled(username=username, address=address, network=who.network)
        raise
    try:
        account = login.account_by_password(username=username, password=password)
    except NOT_REACHED:
        attempt_take_back(who)
        raise
    except Exception:
        attempt_leave_open(who)
        raise
    if account is None:
        log.warning("A sign-in from %s failed", address)
        audit.record(Event.SIGN_IN_FAILED, username=username, address=address)
    else:
        attempt_succeed(who)
    return account


def attempt_begin(who: Subjects, now: float | None = None) -> None:
    """Count a failure provisionally; raise `SignInThrottled`, counting nothing, while attempts are blocked."""
    now = time.time() if now is None else now
    # A rejection costs no write, and no wait for the database's lock.
    check_wait(who, {row.key: row for row in Attempts.objects.filter(key__in=who)}, now)
    purge.when_due()
    with transaction.atomic():
        missing = [Attempts(key=each, expires_at=now) for each in (who.username, who.network)]
        Attempts.objects.bulk_create(missing, ignore_conflicts=True)
        rows = locked_rows(who)
        # Again: another attempt may have counted since.
        check_wait(who, rows, now)
        for each in rows.values():
            store(each, backoff.failed(each.counted, now, allowance(each.key, who)), who)


def check_wait(who: Subjects, rows: dict[str, Attempts], now: float) -> None:
    """Raise `SignInThrottled` if the known pair, or else the name or the network, has to wait."""
    judged = [who.pair] if who.pair in rows else [who.username, who.network]
    wait = max(backoff.wait(rows[each].counted, now, allowance(each, who)) if each in rows else 0.0 for each in judged)
    if wait > 0:
        raise SignInThrottled(wait)


@transaction.atomic
def attempt_take_back(who: Subjects) -> None:
    """Remove an attempt that did not reach the login service."""
    for row in locked_rows(who).values():
        store(row, backoff.taken_back(row.counted), who)


@transaction.atomic
def attempt_leave_open(who: Subjects) -> None:
    """Keep an attempt of unknown outcome, as far as `backoff.unjudged` counts it."""
    for each, row in locked_rows(who).items():
        store(row, backoff.unjudged(row.counted, allowance(each, who)), who)


@transaction.atomic
def attempt_succeed(who: Subjects, now: float | None = None) -> None:
    """Remember that the name signs in from this network, and forget the failures of the two together.

    The network's failures stay: otherwise a user could sign in between two guesses of another's password.
    """
    now = time.time() if now is None else now
    Attempts.objects.bulk_create([Attempts(key=who.pair, expires_at=now)], ignore_conflicts=True)
    for each, row in locked_rows(who).items():
        if each == who.pair:
            row.expires_at = now + KNOWN_FOR
        store(row, backoff.NONE if each == who.pair else backoff.taken_back(row.counted), who)


def locked_rows(who: Subjects) -> dict[str, Attempts]:
    """Return the rows by key, locked for this transaction, always in the same order."""
    return {row.key: row for row in Attempts.objects.select_for_update().filter(key__in=who).order_by("key")}


def store(row: Attempts, counted: backoff.Failures, who: Subjects) -> None:
    """Store the new weight. A row expires once it weighs nothing; a known pair's once it is forgotten."""
    row.weight, row.at = counted
    if row.key != who.pair:
        row.expires_at = counted.at + counted.weight * settings.LOGIN_LONGEST_WAIT
    row.save()


def attempts_purge(capacity: int = MAX_ROWS) -> None:
    """Delete expired rows, and beyond `MAX_ROWS` those that expire next."""
    Attempts.objects.filter(expires_at__lt=time.time()).delete()
    last = Attempts.objects.order_by("-expires_at").values_list("expires_at", flat=True)[capacity : capacity + 1]
    for moment in last:
        Attempts.objects.filter(expires_at__lte=moment).delete()


purge = Purge(PURGE_EVERY, attempts_purge)
