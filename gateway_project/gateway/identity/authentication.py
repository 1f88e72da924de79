"""The user of an access token: its claims, as long as its signature, its time and its session are valid."""

import time
from collections import OrderedDict
from threading import Lock

from gateway.policy import access
from gateway.policy.access import Identity
from gateway.policy.rejections import InvalidToken, TokenExpired

from . import tokens
from .keys import KeyRing
from .revocations import Revocations
from .tokens import GatewayBackend

# How many verified tokens are remembered; each takes about 1 KiB.
MAX_TOKENS = 65_536


class Verified:
    """Whom the values of `Authorization` speak for whose token's signature has been checked, until it expires.

    The one that was checked first is forgotten first.
    """

    def __init__(self, backend: GatewayBackend, capacity: int = MAX_TOKENS) -> None:
        self.backend = backend
        self.capacity = capacity
        self.known: OrderedDict[str, tuple[Identity, int]] = OrderedDict()
        self.ring: KeyRing | None = None
        self.lock = Lock()

    def identity(self, authorization: str) -> Identity | None:
        """Return whom the token identifies, `None` for another scheme; raise `InvalidToken`."""
        ring = self.backend.keys.current()
        if ring is not self.ring:
            self.forget(ring)
        known = self.known.get(authorization)
        if known is None:
            token = access.bearer(authorization)
            if token is None:
                return None
            known = tokens.read_access(self.backend, token)
            self.remember(authorization, known, ring)
        identity, expires = known
        if expires <= time.time():
            raise TokenExpired
        return identity

    def remember(self, authorization: str, known: tuple[Identity, int], ring: KeyRing) -> None:
        with self.lock:
            if self.ring is ring:
                self.known[authorization] = known
            while len(self.known) > self.capacity:
                self.known.popitem(last=False)

    def forget(self, ring: KeyRing) -> None:
        """Forget all tokens: the key that verified one may be gone."""
        with self.lock:
            self.known.clear()
            self.ring = ring


class Authentication:
    """Who a request's credentials speak for: a verified token whose session has not ended."""

    def __init__(self, backend: GatewayBackend, revocations: Revocations) -> None:
        self.verified = Verified(backend)
        self.revocations = revocations

    def identify(self, authorization: str | None) -> Identity | None:
        """Return who the value of `Authorization` says is asking, `None` without one; raise `InvalidToken`.

        Repeated headers are joined with a comma, as every server does on the way to Django: both doors decide alike.
        """
        identity = None if authorization is None else self.verified.identity(authorization)
        if identity is not None and self.revocations.is_ended(identity.session):
            raise InvalidToken("The session of the access token has ended. Sign in again.")
        return identity

    def identify_cookie(self, access_token: str | None) -> Identity | None:
        """Return whom a browser's access token speaks for, `None` for one that is not valid any more.

        A browser sends what it has: an expired cookie is no claim that needs a 401.
        """
        try:
            return self.identify(f"Bearer {access_token}") if access_token else None
        except InvalidToken:
            return None

    def seconds_left(self, authorization: str | None) -> float:
        """Return for how long a verified value of `Authorization` is valid; 0 if it is not known."""
        _, expires = self.verified.known.get(authorization or "", (None, 0))
        return expires - time.time()

    def cookie_seconds_left(self, access_token: str | None) -> float:
        """Return for how long a browser's access token is still valid, 0 for an invalid one."""
        return self.seconds_left(f"Bearer {access_token}") if self.identify_cookie(access_token) else 0.0


class Caller:
    is_authenticated = True

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.pk = identity.user_id

    def __str__(self) -> str:
        return self.identity.username
