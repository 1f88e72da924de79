"""Checks passports: the proof, made by the gateway, of who is asking.

A request is accepted with `Authorization: Bearer <passport>`, a token signed by one of the gateway's published keys,
for this service (`aud`), not expired, and with `request-user-id` equal to its `sub`. Anything else is 401.

This file is the same in each service.
"""

import json
import logging
import re
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import cache
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, cast
from urllib.request import ProxyHandler, build_opener

import jwt
from django.conf import settings
from jwt.api_jwk import PyJWK, PyJWKSet
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import Token

from .problems import Unavailable

if TYPE_CHECKING:  # DRF's views import this module, as the setting names it.
    from rest_framework.views import APIView

# Seconds: how old the keys may become before they are fetched again, how soon after a fetch there may be another,
# and how long one waits for each answer of the gateway's socket.
KEYS_FRESH = 300
KEYS_COOLDOWN = 2
KEYS_TIMEOUT = 3
# Bytes. A key is about 250.
KEYS_MAX_SIZE = 64 * 1024

# How many accepted passports are remembered: each lives a minute, and the gateway reuses a user's while it does.
REMEMBERED = 4096

# Unix seconds beyond all that a date can be.
NEVER = 2**37
# A user's id, within 64 bits: views take it for a number.
USER_ID = re.compile(r"[0-9]{1,18}")

log = logging.getLogger("passports")
# The gateway is a neighbour: never by way of the proxy that the environment names for the internet.
opener = build_opener(ProxyHandler({}))


class GatewayKeys:
    """The gateway's public keys, by `kid`. PyJWT's own client would make every request wait while one fetches.

    Here known keys are never waited for: older ones serve while newer ones are fetched. A request that waited would
    hold a thread of the gateway, which may be the one that has to answer. Only who comes with an unknown `kid` waits,
    and one fetch, at most every `KEYS_COOLDOWN` seconds, serves all of those.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.known: dict[str, PyJWK] = {}
        self.reachable = False
        self.tried = self.fetched = -float(KEYS_FRESH)
        self.fetching = threading.Lock()

    def get(self, kid: str) -> PyJWK:
        """Return the key; raise `LookupError` where the gateway has none such, `Unavailable` where it does not say."""
        if kid not in self.known:
            self.fetch()
        elif is_due(self.fetched, KEYS_FRESH) and is_due(self.tried, KEYS_COOLDOWN) and not self.fetching.locked():
            threading.Thread(target=self.fetch, name="gateway-keys", daemon=True).start()
        if kid in self.known:
            return self.known[kid]
        if not self.reachable:
            raise Unavailable("The gateway's public keys cannot be fetched. Try again.")
        raise LookupError(kid)

    def fetch(self) -> None:
        """Fetch the keys, unless somebody tried while we waited or just before; where it fails, keep the known ones."""
        with self.fetching:
            if not is_due(self.tried, KEYS_COOLDOWN):
                return
            try:
                with opener.open(self.url, timeout=KEYS_TIMEOUT) as response:
                    self.known = keys_in(response.read(KEYS_MAX_SIZE))
                self.fetched = time.monotonic()
                self.reachable = True
            except (OSError, HTTPException, ValueError) as exc:
                self.reachable = False
                log.warning("The gateway's public keys cannot be fetched from %s: %s", self.url, exc)
            finally:
                self.tried = time.monotonic()


def is_due(since: float, seconds: float) -> bool:
    """Return whether that many seconds have gone by since that `time.monotonic`."""
    return time.monotonic() - since >= seconds


def keys_in(document: bytes) -> dict[str, PyJWK]:
    """Return the signing keys of a JWKS (RFC 7517); raise `ValueError` where it has none that we can use."""
    try:
        keys = PyJWKSet.from_dict(json.loads(document)).keys
    except (jwt.PyJWTError, AttributeError, TypeError) as exc:  # the latter two of JSON that is no JWKS
        raise ValueError(f"expected a JWKS: {exc}") from exc
    algorithm = cast("dict[str, Any]", settings.SIMPLE_JWT)["ALGORITHM"]
    usable = {key.key_id: key for key in keys if isinstance(key.key_id, str) and key.algorithm_name == algorithm}
    if not usable:
        raise ValueError(f"expected a key for {algorithm} with a kid")
    return usable


class PassportBackend(TokenBackend):
    """Simple JWT's backend over `GatewayKeys`. Keys that cannot be fetched are our 503, not the client's 401."""

    def __init__(self) -> None:
        options = cast("dict[str, Any]", settings.SIMPLE_JWT)
        super().__init__(
            options["ALGORITHM"], audience=options["AUDIENCE"], issuer=options["ISSUER"], leeway=options["LEEWAY"]
        )
        self.keys = GatewayKeys(options["JWK_URL"])
        self.accepted: dict[bytes, tuple[Passport, str, PyJWK]] = {}

    def recall(self, raw: bytes) -> "Passport | None":
        """Return the passport accepted before, unless it has expired or its key is not the one in force any more."""
        if raw not in self.accepted:
            return None
        with suppress(LookupError, Unavailable):
            passport, kid, key = self.accepted[raw]
            if time.time() < passport["exp"] + self.get_leeway().total_seconds() and self.keys.get(kid) is key:
                return passport
        self.accepted.pop(raw, None)
        return None

    def remember(self, raw: bytes, passport: "Passport") -> None:
        """Remember an accepted passport: checking its signature is half of what a small request costs."""
        if len(self.accepted) >= REMEMBERED:
            self.accepted.clear()
        kid = jwt.get_unverified_header(raw)["kid"]
        if kid in self.keys.known:
            self.accepted[raw] = passport, kid, self.keys.known[kid]

    def decode(self, token: Token, verify: bool = True) -> dict[str, Any]:
        """Return the claims of a token that is the gateway's, its moments whole numbers as the gateway writes them."""
        try:
            claims = super().decode(token, verify)
        except OverflowError as exc:  # of a moment that is infinite
            raise TokenBackendError("Token is invalid") from exc
        for name in ("exp", "iat", "nbf"):
            if name in claims and (type(claims[name]) is not int or not 0 <= claims[name] < NEVER):
                raise TokenBackendError("Token is invalid")
        return claims

    def get_verifying_key(self, token: Token) -> Any:  # noqa: ANN401  # PyJWT's key types
        """Return the public key that the token's `kid` names."""
        try:
            return self.keys.get(jwt.get_unverified_header(cast("Any", token))["kid"]).key
        except LookupError as exc:
            raise TokenBackendError("Token is invalid") from exc


@cache
def backend() -> PassportBackend:
    """Return the process's one backend, made at first use."""
    return PassportBackend()


class Passport(Token):
    """A token of the gateway's for this one service."""

    token_type = "passport"
    lifetime = timedelta(seconds=60)

    @property
    def token_backend(self) -> TokenBackend:
        """The backend that knows the gateway's keys."""
        return backend()

    def verify(self) -> None:
        """Check what the signature does not: the type, and that the claims that views rely on are there."""
        super().verify()
        for claim in ("sub", "role"):
            if not isinstance(self.payload.get(claim), str):
                raise TokenError(f"Token has no {claim}")
        if self.payload["role"] != "service" and not USER_ID.fullmatch(self.payload["sub"]):
            raise TokenError("Token has a sub that is no user's id")


class PassportUser(TokenUser):
    """The one who is asking, as the passport says: `id` (a string), `username`, `role` and `sid`, the session."""

    @property
    def role(self) -> str:
        """`admin`, `default`, or `service` for the gateway itself."""
        return cast("str", self.token["role"])


class PassportAuthentication(JWTStatelessUserAuthentication):
    """Accepts a valid passport whose `sub` is what `request-user-id` says."""

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        """Return the passport's user and the passport; `None`, which means 401, without one."""
        accepted = super().authenticate(request)
        if accepted is not None and request.headers.get("Request-User-Id") != accepted[0].pk:
            raise AuthenticationFailed("Expected a request-user-id equal to the passport's sub.")
        return cast("tuple[Any, Token] | None", accepted)

    def get_validated_token(self, raw_token: bytes) -> Token:
        """Return the passport, checked now or before; raise `InvalidToken`, which means 401."""
        passport = backend().recall(raw_token)
        if passport is None:
            passport = cast("Passport", super().get_validated_token(raw_token))
            backend().remember(raw_token, passport)
        return passport


class HasRole(BasePermission):
    """Allows the roles that the view lists in `roles`; a second check behind the gateway's own."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Return whether the passport's role is one of the view's."""
        return getattr(request.user, "role", None) in cast("Any", view).roles
