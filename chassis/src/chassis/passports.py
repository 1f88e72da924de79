"""Passports: the gateway's proof of who is asking.

The gateway replaces a client's access token by a passport: a JWT that the gateway signs for one
service (`aud`) and one minute. A service accepts `Authorization: Bearer <passport>` if one of the
gateway's published keys signed it, it is for this service, it has not expired, and the header
`request-user-id` equals its `sub`. Everything else is 401. So a user's own token is useless inside
the network, a passport is useless at another service, and a service holds no secret.

A service with `pass_authorization: true` in gateway.yaml gets the client's own `Authorization`. The
passport is then in `X-Gatehouse-Passport`, and the option `PASSPORT_HEADER` has that name. The service
reads that header alone: with two places, a client could choose.
"""

import json
import logging
import re
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import cache, cached_property
from http.client import HTTPException
from typing import Any, cast
from urllib.request import ProxyHandler, build_opener

import jwt
from jwt.api_jwk import PyJWK, PyJWKSet
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenBackendError, TokenError
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import Token

from . import conf
from .problems import Unavailable

ALGORITHM = "ES256"
# Seconds: the age at which keys are fetched again, the pause between two fetches, and the wait for each read of one.
KEYS_MAX_AGE = 300
KEYS_COOLDOWN = 2
KEYS_TIMEOUT = 3
# Bytes. A key takes about 250.
KEYS_MAX_SIZE = 64 * 1024

# Accepted passports are remembered: each is valid for a minute, and the gateway reuses it for that time.
MAX_REMEMBERED = 4096

# Unix seconds beyond every date.
_NEVER = 2**37
# A user's id, within 64 bits: views use it as a number.
USER_ID = re.compile(r"[0-9]{1,18}")

log = logging.getLogger("chassis.passports")
# The gateway is a neighbour: never ask it through the proxy that the environment names for the internet.
_opener = build_opener(ProxyHandler({}))


class KeysUnavailable(Unavailable):
    default_code = "keys_unavailable"
    default_detail = "The gateway's public keys cannot be fetched. Try again."


class GatewayKeys:
    """The gateway's public keys, by `kid`, fetched when the first request needs one.

    PyJWT's own client makes every request wait while it fetches. Here known keys keep serving while newer ones are
    fetched in the background: a waiting request would hold a thread of the gateway, which may be the one that has to
    respond. Only a request with an unknown `kid` waits, and one fetch, at most every `KEYS_COOLDOWN` seconds, serves
    all of those.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.known: dict[str, PyJWK] = {}
        self.reachable = False
        self.tried = self.fetched = -float(KEYS_MAX_AGE)
        self.fetching = threading.Lock()

    def get(self, kid: str) -> PyJWK:
        """Return the key; raise `LookupError` for an unknown key, `KeysUnavailable` without a gateway."""
        if kid not in self.known:
            self.fetch()
        elif self._is_stale() and not self.fetching.locked():
            threading.Thread(target=self.fetch, name="gateway-keys", daemon=True).start()
        if kid in self.known:
            return self.known[kid]
        if not self.reachable:
            raise KeysUnavailable
        raise LookupError(kid)

    def fetch(self) -> None:
        """Fetch the keys, unless another thread has just tried; on failure, keep the known ones."""
        with self.fetching:
            if not _has_passed(self.tried, KEYS_COOLDOWN):
                return
            try:
                with _opener.open(self.url, timeout=KEYS_TIMEOUT) as response:
                    self.known = parse_keys(response.read(KEYS_MAX_SIZE))
                self.fetched = time.monotonic()
                self.reachable = True
            except (OSError, HTTPException, ValueError) as exc:
                self.reachable = False
                log.warning(
                    "The gateway's public keys cannot be fetched from %s: %s. Is the gateway running, and is "
                    'GATEHOUSE["GATEWAY"] its address?',
                    self.url,
                    exc,
                )
            finally:
                self.tried = time.monotonic()

    def _is_stale(self) -> bool:
        return _has_passed(self.fetched, KEYS_MAX_AGE) and _has_passed(self.tried, KEYS_COOLDOWN)


def _has_passed(since: float, seconds: float) -> bool:
    return time.monotonic() - since >= seconds


def parse_keys(document: bytes) -> dict[str, PyJWK]:
    """Return the signing keys of a JWKS (RFC 7517); raise `ValueError` if none is usable."""
    try:
        keys = PyJWKSet.from_dict(json.loads(document)).keys
    except (jwt.PyJWTError, AttributeError, TypeError) as exc:  # the latter two for JSON that is not a JWKS
        raise ValueError(f"expected a JWKS: {exc}") from exc
    usable = {key.key_id: key for key in keys if isinstance(key.key_id, str) and key.algorithm_name == ALGORITHM}
    if not usable:
        raise ValueError(f"expected a key for {ALGORITHM} with a kid")
    return usable


class PassportBackend(TokenBackend):
    """Simple JWT's token backend over `GatewayKeys`. If those cannot be fetched, it is 503 and not the client's 401."""

    def __init__(self) -> None:
        options = conf.options()
        super().__init__(ALGORITHM, audience=options.service, issuer=options.issuer, leeway=options.leeway)
        self.keys = GatewayKeys(options.keys_url)
        self.accepted: dict[bytes, tuple[Passport, str, PyJWK]] = {}

    def recall(self, raw: bytes) -> "Passport | None":
        """Return the passport if it was accepted before, has not expired, and its key is still in force."""
        if raw not in self.accepted:
            return None
        with suppress(LookupError, Unavailable):
            passport, kid, key = self.accepted[raw]
            if time.time() < passport["exp"] + self.get_leeway().total_seconds() and self.keys.get(kid) is key:
                return passport
        self.accepted.pop(raw, None)
        return None

    def remember(self, raw: bytes, passport: "Passport") -> None:
        """Remember an accepted passport: checking its signature is half the cost of a small request."""
        if len(self.accepted) >= MAX_REMEMBERED:
            self.accepted.clear()
        kid = jwt.get_unverified_header(raw)["kid"]
        if kid in self.keys.known:
            self.accepted[raw] = passport, kid, self.keys.known[kid]

    def decode(self, token: Token, verify: bool = True) -> dict[str, Any]:
        """Return the claims of a token that the gateway signed. Its times are whole numbers, as the gateway's are."""
        try:
            claims = super().decode(token, verify)
        except OverflowError as exc:  # from an infinite time
            raise TokenBackendError("Token is invalid") from exc
        for name in ("exp", "iat", "nbf"):
            if name in claims and (type(claims[name]) is not int or not 0 <= claims[name] < _NEVER):
                raise TokenBackendError("Token is invalid")
        return claims

    def get_verifying_key(self, token: Token) -> Any:  # noqa: ANN401  # PyJWT's key types
        try:
            return self.keys.get(jwt.get_unverified_header(cast("Any", token))["kid"]).key
        except LookupError as exc:
            raise TokenBackendError("Token is invalid") from exc


@cache
def backend() -> PassportBackend:
    """Return the process's one backend, made for the first request."""
    return PassportBackend()


class Passport(Token):
    """A token of the gateway's for this service."""

    token_type = "passport"
    lifetime = timedelta(seconds=60)

    @property
    def token_backend(self) -> TokenBackend:
        return backend()

    def verify(self) -> None:
        """Check what the signature does not: the type, and the claims that views rely on."""
        super().verify()
        for claim in ("sub", "role"):
            if not isinstance(self.payload.get(claim), str):
                raise TokenError(f"Token has no {claim}")
        if self.payload["role"] != "service" and not USER_ID.fullmatch(self.payload["sub"]):
            raise TokenError("Token has a sub that is not a user's id")


class PassportUser(TokenUser):
    """The user that a passport names: `id`, `username`, `role` and `sid`, the session. It is not stored here."""

    @cached_property
    def id(self) -> "int | str":  # type: ignore[override]  # Simple JWT's is a string
        """The user's id, a number. The gateway itself, whose role is `service`, has a string."""
        subject = cast("str", self.token["sub"])
        return int(subject) if USER_ID.fullmatch(subject) else subject

    @property
    def role(self) -> str:
        """`admin`, `default` or another role of gateway.yaml's; `service` for the gateway itself."""
        return cast("str", self.token["role"])


class PassportAuthentication(JWTStatelessUserAuthentication):
    """Accepts a valid passport whose `sub` equals `request-user-id`."""

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        """Return the user and the passport; `None`, which means 401, without a passport."""
        accepted = cast("tuple[PassportUser, Token] | None", super().authenticate(request))
        if accepted is not None and request.headers.get("Request-User-Id") != accepted[1]["sub"]:
            raise AuthenticationFailed(
                "The header request-user-id differs from the passport's sub. Send the request through the gateway.",
                code="user_id_mismatch",
            )
        return accepted

    def get_header(self, request: Request) -> bytes | None:
        """Return `Bearer` and the passport, from the one header in which the gateway sends it to this service."""
        name = conf.options().passport_header
        if name == "Authorization":
            return cast("bytes | None", super().get_header(request))
        passport = request.headers.get(name)
        return None if passport is None else f"Bearer {passport}".encode("latin-1")

    def get_validated_token(self, raw_token: bytes) -> Token:
        """Return the passport, checked now or before."""
        passport = backend().recall(raw_token)
        if passport is None:
            try:
                passport = Passport(cast("Any", raw_token))
            except ExpiredTokenError as exc:
                detail = "The passport has expired. Send the request through the gateway again."
                raise AuthenticationFailed(detail, code="token_expired") from exc
            except TokenError as exc:
                detail = "The token is not a valid passport for this service. Send the request through the gateway."
                raise AuthenticationFailed(detail, code="token_invalid") from exc
            backend().remember(raw_token, passport)
        return passport

    def get_user(self, validated_token: Token) -> Any:  # noqa: ANN401  # Simple JWT's type is of stored users
        return PassportUser(validated_token)
