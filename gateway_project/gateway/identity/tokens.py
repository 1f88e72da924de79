"""Tokens that the gateway signs: Simple JWT's, over the gateway's keys. ES256 alone (RFC 8725, section 3.1)."""

import time
from typing import Any, cast

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import (
    ExpiredTokenError,
    TokenBackendError,
    TokenBackendExpiredToken,
    TokenError,
)
from rest_framework_simplejwt.tokens import AccessToken as SimpleAccessToken
from rest_framework_simplejwt.tokens import RefreshToken as SimpleRefreshToken

from gateway.policy.access import Identity
from gateway.policy.rejections import InvalidToken, TokenExpired

from .keys import Keys

ALGORITHM = "ES256"
REQUIRED = ["exp", "iat", "iss", "jti", "sub"]
# Unix seconds beyond all that a date can be.
NEVER = 2**37
# Seconds by which the clock that a token was made with may be ahead of this one, as the services have it.
LEEWAY = 2


def check_moments(claims: dict[str, Any]) -> None:
    """Raise `TokenBackendError` where a moment is not as we write it: a whole number of seconds, of a date's time.

    A token that has expired has expired: the leeway is for what begins.
    """
    for name in ("exp", "iat", "nbf"):
        if name in claims and (type(claims[name]) is not int or not 0 <= claims[name] < NEVER):
            raise TokenBackendError("Token has an invalid time")
    if claims["exp"] <= time.time():
        raise TokenBackendExpiredToken("Token is expired")


class GatewayBackend(TokenBackend):
    """Signs with the newest key, named in `kid`; verifies with the key of ours that `kid` names.

    Everything else in a token's header is ignored: a key or an address of keys that the token brings along
    (`jwk`, `jku`, `x5u`) is its sender's word (RFC 8725, section 3.10).
    """

    def __init__(self, keys: Keys) -> None:
        super().__init__(ALGORITHM)
        self.keys = keys

    def encode(self, payload: dict[str, Any]) -> str:
        key = self.keys.current().signing
        claims = payload | {"iss": cast("dict[str, Any]", settings.SIMPLE_JWT)["ISSUER"]}
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:  # noqa: ANN401  # Simple JWT's signature
        """Return the claims of a token that one of the gateway's keys signed; `verify` has no effect."""
        try:
            public = self.keys.current().verifying(jwt.get_unverified_header(token).get("kid"))
            if public is None:
                raise TokenBackendError("Token is signed by a key that is not ours")
            claims = jwt.decode(
                token,
                public,
                algorithms=[ALGORITHM],
                issuer=cast("dict[str, Any]", settings.SIMPLE_JWT)["ISSUER"],
                leeway=LEEWAY,
                options={"require": REQUIRED, "verify_aud": False},
            )
        except jwt.ExpiredSignatureError as exc:
            raise TokenBackendExpiredToken("Token is expired") from exc
        except (jwt.InvalidTokenError, OverflowError) as exc:  # the latter of a moment that is infinite
            raise TokenBackendError("Token is invalid") from exc
        check_moments(claims)
        return claims


class AccessToken(SimpleAccessToken):
    """A user's token: `sub, username, role, sid`, and the claims of Simple JWT."""

    def __init__(self, backend: GatewayBackend, token: str | None = None) -> None:
        self._token_backend = backend
        super().__init__(cast("Any", token))

    def identity(self) -> Identity:
        """Return whom the token identifies; raise `TokenError` without the claims."""
        claims = [self.payload.get(name) for name in ("sub", "username", "role", "sid")]
        if not all(isinstance(claim, str) for claim in claims):
            raise TokenError("Token lacks a claim of ours")
        return Identity(*cast("list[str]", claims))


class RefreshToken(SimpleRefreshToken):
    """Gets the next pair, once: `sub` and `sid`; its `jti` is the session's current one."""

    def __init__(self, backend: GatewayBackend, token: str | None = None) -> None:
        self._token_backend = backend
        super().__init__(cast("Any", token))


def read_access(backend: GatewayBackend, token: str) -> tuple[Identity, int]:
    """Return who an access token speaks for and when it expires (Unix seconds); raise `InvalidToken`.

    It expires no later than one that was signed at the same time with today's `ACCESS_TOKEN_TTL`: for that long it is
    remembered which sessions have ended.
    """
    lifetime = cast("dict[str, Any]", settings.SIMPLE_JWT)["ACCESS_TOKEN_LIFETIME"]
    try:
        accepted = AccessToken(backend, token)
        return accepted.identity(), min(int(accepted["exp"]), int(accepted["iat"] + lifetime.total_seconds()))
    except ExpiredTokenError as exc:
        raise TokenExpired from exc
    except TokenError as exc:
        raise InvalidToken("The access token is not valid. Sign in again.") from exc
