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
import math
import re
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import cache, cached_property
from http.client import HTTPException
from typing import Any, cast
from urllib.request import ProxyHandler, build_opener

from jwt import PyJWKClient, PyJWKSet
from jwt.exceptions import PyJWKClientConnectionError, PyJWKClientError, PyJWKSetError
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
# Seconds: the least pause between two fetches for an unknown `kid`, and the wait for a response.
KEYS_COOLDOWN = 2
KEYS_TIMEOUT = 3
# Seconds for which keys are used that cannot be fetched again.
KEYS_KEPT = 3600
# Seconds at most between two fetches at the start.
MAX_PAUSE = 30.0

# Accepted passports are remembered for a minute at most, so a withdrawn key is soon worth nothing.
MAX_REMEMBERED = 4096
REMEMBER_FOR = 60

# A user's id, within 64 bits: views use it as a number.
USER_ID = re.compile(r"[0-9]{1,18}")

log = logging.getLogger("chassis.passports")
# The gateway is a neighbour: never ask it through the proxy that the environment names for the internet.
_opener = build_opener(ProxyHandler({}))


class KeysUnavailable(Unavailable):
    default_code = "keys_unavailable"
    default_detail = "The gateway's public keys cannot be fetched. Try again."


class GatewayKeys(PyJWKClient):
    """The gateway's public keys, fetched at the start, and again every five minutes when a request needs one.

    While they cannot be fetched, the known ones stay in use for `KEYS_KEPT`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=KEYS_TIMEOUT, cooldown_duration=KEYS_COOLDOWN)
        self.known: dict[str, Any] = {}
        self.known_at = -math.inf
        # Whether the last fetch failed.
        self.is_stale = False

    def fetch_data(self) -> Any:  # noqa: ANN401  # PyJWT's
        try:
            with _opener.open(self.uri, timeout=self.timeout) as response:
                found = dict(json.load(response))
            PyJWKSet.from_dict(found)
            self.known, self.known_at, self.is_stale = found, time.monotonic(), False
        except (OSError, HTTPException, TypeError, ValueError, PyJWKSetError) as exc:  # the latter for other JSON
            log.warning(
                "The gateway's public keys cannot be fetched from %s: %s. Is the gateway running, and is "
                'GATEHOUSE["GATEWAY"] its address?',
                self.uri,
                exc,
            )
            self.is_stale = True
            if time.monotonic() - self.known_at > KEYS_KEPT:
                raise PyJWKClientConnectionError(str(exc)) from exc
        return self.known


def fetch_keys() -> None:
    """Fetch the gateway's keys in a thread, before the first request needs them.

    Until the gateway responds, they are fetched again, at last every `MAX_PAUSE` seconds.
    """
    threading.Thread(target=_fetch_until_known, name="keys", daemon=True).start()


def _fetch_until_known() -> None:
    pause = float(KEYS_COOLDOWN)
    keys = backend().keys
    while not keys.known:
        with suppress(PyJWKClientError):
            keys.get_jwk_set()
            return
        time.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE)


class PassportBackend(TokenBackend):
    """Simple JWT's token backend over `GatewayKeys`. If those cannot be fetched, it is 503 and not the client's 401."""

    def __init__(self) -> None:
        options = conf.options()
        super().__init__(ALGORITHM, audience=options.service, issuer=options.issuer, leeway=options.leeway)
        self.keys = GatewayKeys(options.keys_url)
        self.jwks_client: PyJWKClient = self.keys
        self._accepted: dict[bytes, tuple[Passport, float]] = {}

    def get_verifying_key(self, token: Token) -> Any:  # noqa: ANN401  # PyJWT's key types
        try:
            return self.jwks_client.get_signing_key_from_jwt(cast("Any", token)).key
        except (PyJWKClientConnectionError, PyJWKSetError) as exc:
            raise KeysUnavailable from exc
        except PyJWKClientError as exc:
            if self.keys.is_stale:  # the passport's key may be a new one
                raise KeysUnavailable from exc
            raise TokenBackendError("Token is invalid") from exc

    def recall(self, raw: bytes) -> "Passport | None":
        """Return the passport if it was accepted a moment ago: its signature is half the cost of a small request."""
        passport, until = self._accepted.get(raw, (None, 0.0))
        return passport if time.time() < until else None

    def remember(self, raw: bytes, passport: "Passport") -> None:
        if len(self._accepted) >= MAX_REMEMBERED:
            self._accepted.clear()
        expires = passport["exp"] + self.get_leeway().total_seconds()
        self._accepted[raw] = passport, min(expires, time.time() + REMEMBER_FOR)


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
        """Check also that views can use the `sub` as a number, unless it is the gateway itself that asks."""
        super().verify()
        if self.payload.get("role") != "service" and not USER_ID.fullmatch(str(self.payload.get("sub"))):
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

    def get_header(self, request: Request) -> bytes | None:  # type: ignore[override]  # Simple JWT returns None too
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
