"""Passports: what a service gets instead of the client's token.

Each is for one service (`aud`), for 60 seconds, and reused for the same session and service while it is fresh, so that
a request costs no signature.
"""

import time
from collections import OrderedDict
from datetime import timedelta
from functools import cache
from threading import Lock

from rest_framework_simplejwt.tokens import Token

from gateway.policy.access import Identity

from . import keys, tokens

LIFETIME = 60
# Seconds before its end from which a passport is no longer handed out: it has to outlive the request.
MARGIN = 20
# How many are remembered; each takes about 1 KiB.
CAPACITY = 10_000

# The gateway itself, when it asks a service on its own behalf.
SELF = Identity(user_id="gateway", username="gateway", role="service", session="")


class Passport(Token):
    """A token for one service."""

    token_type = "passport"
    lifetime = timedelta(seconds=LIFETIME)
    _token_backend = tokens.backend


def passport_create(identity: Identity, service: str) -> str:
    """Return a new passport of that identity for that service."""
    passport = Passport()
    passport.payload |= {
        "aud": service,
        "sub": identity.user_id,
        "username": identity.username,
        "role": identity.role,
        "sid": identity.session,
    }
    return str(passport)


class Passports:
    """The passports in use, least recently used dropped first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.fresh: OrderedDict[tuple[Identity, str], tuple[str, float]] = OrderedDict()
        self.ring: keys.KeyRing | None = None
        self.lock = Lock()

    def get(self, identity: Identity, service: str) -> str:
        """Return a passport that is valid for at least `MARGIN` seconds more."""
        now = time.monotonic()
        ring = keys.ring()
        if ring is not self.ring:
            # Other keys: the one that has signed a passport may not be among them.
            with self.lock:
                self.fresh.clear()
                self.ring = ring
        known = self.fresh.get((identity, service))
        if known is not None and now < known[1]:
            return known[0]
        passport = passport_create(identity, service)
        with self.lock:
            if self.ring is not ring:
                return passport
            self.fresh[identity, service] = (passport, now + LIFETIME - MARGIN)
            self.fresh.move_to_end((identity, service))
            while len(self.fresh) > self.capacity:
                self.fresh.popitem(last=False)
        return passport


@cache
def passports() -> Passports:
    """Return the process's passports."""
    return Passports()
