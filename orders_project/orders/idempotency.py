"""`Idempotency-Key`: a request sent again gets the first answer again (draft-ietf-httpapi-idempotency-key-header-07).

    APIException (DRF's)
    ├── Conflict
    │   └── Running         the first request with the key is still under way: 409 with Retry-After
    └── Reused              the key came with another body before: 422

The answer is kept in the transaction that does the work: after a crash there are both, or neither.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from rest_framework import exceptions

from chassis.problems import Conflict

from .locks import byte_lock, open_locks
from .models import KeptAnswer
from .turns import write_turn

KEPT_FOR = timedelta(hours=24)
# How many expired answers go with each new one: more than come, so that they do not pile up.
PURGED_AT_ONCE = 10
# Seconds: how long the same key waits for the first request with it, and how often it looks.
PATIENCE = 0.25
LOOK = 0.01
MAX_LENGTH = 255
EXPECTED = (
    f'Expected a key of 1 to {MAX_LENGTH} printable ASCII characters without a comma, as in "8e03978e-40d5-43e8-bc93".'
)
# A string of RFC 9651, section 3.3.3, as the draft wants it; or bare, as most clients send it. None has a comma:
# with one, a server joins two lines of a header (RFC 9110, section 5.3).
QUOTED = re.compile(r'"((?:[ !#-+\--\[\]-~]|\\["\\])+)"')
BARE = re.compile(r"[!#-+\--~]+")
# Put together here, as Django takes longer to do so than SQLite takes over them.
KEPT = 'SELECT fingerprint, status, location, body, created_at FROM orders_keptanswer WHERE owner = %s AND "key" = %s'
KEEP = """INSERT INTO orders_keptanswer (owner, "key", fingerprint, status, location, body, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)"""
OLDEST = "SELECT id, created_at FROM orders_keptanswer WHERE id > %s ORDER BY id LIMIT %s"


class Running(Conflict):
    """The first request with the key is still under way (the draft, section 2.6)."""

    wait = 1

    def __init__(self) -> None:
        detail = "The first request with this Idempotency-Key is still under way. Try again."
        super().__init__(detail, code="idempotency_key_in_use")


class Reused(exceptions.APIException):
    """The key came with another body before (the draft, section 2.6)."""

    status_code = 422
    default_code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key came with another body before. Send that body again, or use a new key."


@dataclass(frozen=True)
class Answer:
    """What a client is answered with; `body` is JSON."""

    status: int
    location: str
    body: bytes


def key_from(header: str | None) -> str | None:
    """Return the key that the header says, `None` without one; raise `ValidationError` where it is malformed."""
    if header is None:
        return None
    if quoted := QUOTED.fullmatch(header):
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    else:
        key = header if BARE.fullmatch(header) else ""
    if not 1 <= len(key) <= MAX_LENGTH:
        raise exceptions.ValidationError({"Idempotency-Key": [EXPECTED]})
    return key


def fingerprint(values: Mapping[str, object]) -> str:
    """Return what two bodies of the same meaning have in common."""
    return blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=32).hexdigest()


def once(*, owner: int, key: str, body: str, work: Callable[[], Answer]) -> Answer:
    """Return the answer kept for the owner's key, or do the work and keep its answer, both in one transaction.

    `body` is the fingerprint of what the key came with. Raises `Running` or `Reused`.
    """
    with turn(lock_number(owner, key)):
        # Nobody else keeps one for this key meanwhile: it need not be the turn to write yet.
        kept = rows(KEPT, owner, key)
        if kept and not is_expired(kept[0][-1]):
            fingerprint, status, location, content, _ = kept[0]
            if fingerprint != body:
                raise Reused
            return Answer(status, location, content.encode())
        with write_turn(), transaction.atomic():
            PURGE.run()
            if kept:
                KeptAnswer.objects.filter(owner=owner, key=key).delete()
            answer = work()
            now = connection.ops.adapt_datetimefield_value(timezone.now())
            values = (owner, key, body, answer.status, answer.location, answer.body.decode(), now)
            with connection.cursor() as cursor:
                cursor.execute(KEEP, values)
            return answer


def rows(sql: str, *values: int | str) -> list[Any]:
    """Return what is found, each with its time last, which is UTC's; SQLite does not say that."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [(*row[:-1], row[-1].replace(tzinfo=UTC)) for row in cursor.fetchall()]


def is_expired(since: datetime) -> bool:
    """Return whether what was kept then is kept no longer."""
    return timezone.now() - since >= KEPT_FOR


class Purge:
    """Deletes expired answers, a few with each new one, found by their ids without a look at the others.

    It begins with the oldest, and goes on behind those of a clock that was ahead: these stay until their time comes.
    """

    def __init__(self) -> None:
        self.behind = 0

    def run(self) -> None:
        """Look at the next few answers, and delete those that are expired."""
        looked_at = rows(OLDEST, self.behind, PURGED_AT_ONCE)
        expired = [number for number, since in looked_at if is_expired(since)]
        if expired:
            KeptAnswer.objects.filter(pk__in=expired).delete()
        last, since = looked_at[-1] if looked_at else (0, None)
        done = since is None or (not is_expired(since) and since <= timezone.now())
        self.behind = 0 if done else last


PURGE = Purge()


def lock_number(owner: int, key: str) -> int:
    """Return the number, within `locks.KEYS`, of the lock that all requests with the owner's key take."""
    return int.from_bytes(blake2b(f"{owner} {key}".encode(), digest_size=8).digest()) >> 2


@contextmanager
def turn(number: int) -> Iterator[None]:
    """Hold the lock, which ends with the process if that is killed; raise `Running` where another has it for long."""
    if connection.vendor == "postgresql":
        # Held until the end of the transaction, so that who has it next sees what was committed.
        with transaction.atomic():
            wait_for(lambda: advisory_lock(number))
            yield
        return
    descriptor = open_locks()
    try:
        wait_for(lambda: byte_lock(descriptor, number))
        yield
    finally:
        os.close(descriptor)


def wait_for(taken: Callable[[], bool]) -> None:
    """Return once the lock is taken; raise `Running` when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not taken():
        if time.monotonic() >= deadline:
            raise Running
        time.sleep(LOOK)


def advisory_lock(number: int) -> bool:
    """Take PostgreSQL's lock of that number, if nobody has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])
