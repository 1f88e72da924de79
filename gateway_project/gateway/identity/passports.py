"""Passports: the token that a service gets instead of the client's.

After the decisions on a request, the gateway replaces `Authorization` with a JWT of its own (RFC 7519).
Its `aud` is the one service, so that a service cannot use it at another (RFC 8725, section 3.9). It has
`sub`, `username`, `role` and `sid` of the session, and is valid for 60 seconds. A service checks the
signature with the public keys of the gateway and holds no secret. It also compares `sub` with the
header `request-user-id`. A user's access token has another `token_type` and no `aud`, so services
reject it. The gateway caches a passport for each identity and service while it is valid for at least
20 more seconds, so that a request costs no signature. New keys empty the cache.
"""

import secrets
import time
from collections import OrderedDict
from threading import Lock

from gateway.policy.access import Identity

from .keys import KeyRing
from .tokens import GatewayBackend

LIFETIME = 60
# Seconds before its end from which a passport is no longer handed out: it has to outlive the request.
MARGIN = 20
# How many are remembered; each takes about 1 KiB.
MAX_PASSPORTS = 65_536

# The gateway itself, when it asks a service on its own behalf.
SELF = Identity(user_id="gateway", username="gateway", role="service", session="")


def passport_create(backend: GatewayBackend, identity: Identity, service: str) -> str:
    now = int(time.time())
    return backend.encode(
        {
            "token_type": "passport",
            "iat": now,
            "exp": now + LIFETIME,
            "jti": secrets.token_hex(16),
            "aud": service,
            "sub": identity.user_id,
            "username": identity.username,
            "role": identity.role,
            "sid": identity.session,
        }
    )


class Passports:
    """The passports in use; the least recently used is dropped first."""

    def __init__(self, backend: GatewayBackend, capacity: int = MAX_PASSPORTS) -> None:
        self.backend = backend
        self.capacity = capacity
        self.known: OrderedDict[tuple[Identity, str], tuple[str, float]] = OrderedDict()
        self.ring: KeyRing | None = None
        self.lock = Lock()

    def get(self, identity: Identity, service: str) -> str:
        """Return a passport that is valid for at least `MARGIN` seconds."""
        return self.fresh(identity, service)[0]

    def fresh(self, identity: Identity, service: str) -> tuple[str, float]:
        """Return a passport, and until when it may be sent (`time.monotonic`)."""
        now = time.monotonic()
        ring = self.backend.keys.current()
        if ring is not self.ring:
            # Other keys: the one that has signed a passport may not be among them.
            with self.lock:
                self.known.clear()
                self.ring = ring
        known = self.known.get((identity, service))
        if known is not None and now < known[1]:
            return known
        known = passport_create(self.backend, identity, service), now + LIFETIME - MARGIN
        with self.lock:
            if self.ring is not ring:
                return known
            self.known[identity, service] = known
            self.known.move_to_end((identity, service))
            while len(self.known) > self.capacity:
                self.known.popitem(last=False)
        return known
