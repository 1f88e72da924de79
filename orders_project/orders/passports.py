"""Checks passports: the proof, made by the gateway, of who is asking.

A request is accepted with `Authorization: Bearer <passport>`, a token signed by one of the gateway's published keys,
for this service (`aud`), not expired, and with `request-user-id` equal to its `sub`. Anything else is 401.

This file is the same in each service.
"""

import threading
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from jwt import PyJWKClient, PyJWKClientConnectionError, PyJWKClientError
from jwt.api_jwk import PyJWKSet
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

# Seconds: how old the keys may become before they are fetched again, and how soon an unknown `kid` may ask again.
KEYS_FRESH = 300
KEYS_COOLDOWN = 5
KEYS_TIMEOUT = 3


class GatewayKeys(PyJWKClient):
    """The gateway's public keys. Once known they are never waited for: older ones serve while newer ones are fetched.

    A request that waited here would hold a thread of the gateway, which may be the one that has to answer.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, lifespan=KEYS_FRESH, timeout=KEYS_TIMEOUT, cooldown_duration=KEYS_COOLDOWN)
        self.known: PyJWKSet | None = None
        self.fetching = threading.Lock()

    def get_jwk_set(self, refresh: bool = False) -> PyJWKSet:
        """Return the keys; raise `PyJWKClientError` only where none were ever fetched."""
        stale = self.known is not None and cast("Any", self.jwk_set_cache).get() is None
        if stale and not refresh:
            if self.fetching.acquire(blocking=False):
                threading.Thread(target=self.fetch_in_background, daemon=True).start()
            return cast("PyJWKSet", self.known)
        self.known = super().get_jwk_set(refresh)
        return self.known

    def fetch_in_background(self) -> None:
        """Fetch the keys; keep the known ones where that fails."""
        try:
            self.known = super().get_jwk_set(refresh=True)
        except PyJWKClientError:
            pass
        finally:
            self.fetching.release()


class PassportBackend(TokenBackend):
    """Simple JWT's backend over `GatewayKeys`. Keys that cannot be fetched are our 503, not the client's 401."""

    def __init__(self) -> None:
        options = cast("dict[str, Any]", settings.SIMPLE_JWT)
        super().__init__(
            options["ALGORITHM"], audience=options["AUDIENCE"], issuer=options["ISSUER"], leeway=options["LEEWAY"]
        )
        self.keys = GatewayKeys(options["JWK_URL"])

    def get_verifying_key(self, token: Token) -> Any:  # noqa: ANN401  # PyJWT's key types
        """Return the public key that the token's `kid` names."""
        try:
            return self.keys.get_signing_key_from_jwt(cast("Any", token)).key
        except PyJWKClientConnectionError as exc:
            raise Unavailable("The gateway's public keys cannot be fetched. Try again.") from exc
        except PyJWKClientError as exc:
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


class HasRole(BasePermission):
    """Allows the roles that the view lists in `roles`; a second check behind the gateway's own."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Return whether the passport's role is one of the view's."""
        return getattr(request.user, "role", None) in cast("Any", view).roles
