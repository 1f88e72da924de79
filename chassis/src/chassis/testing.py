"""For tests of your own views: a client that acts as a user, without a gateway and with real signatures.

    from chassis.testing import client_as

    def test_admins_delete_books(db):
        assert client_as(1, "admin").delete("/books/1").status_code == 204

The first call makes the process trust a key of this module's in place of the gateway's.
"""

import time
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from rest_framework.test import APIClient

from . import conf, passports

# Seconds; longer than a real passport, so that a slow test does not outlive its client.
_LIFETIME = 3600


class SigningKey:
    """A key as the gateway has one: it signs with the private half and publishes the other."""

    def __init__(self, kid: str | None = None) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.kid = kid or uuid4().hex

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as a JWKS contains it."""
        public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return public | {"kid": self.kid, "alg": passports.ALGORITHM, "use": "sig"}

    def sign(self, claims: dict[str, Any], headers: dict[str, Any] | None = None) -> str:
        header = {"kid": self.kid} | (headers or {})
        return jwt.encode(claims, self.private, algorithm=passports.ALGORITHM, headers=header)


class LocalKeys(passports.GatewayKeys):
    """Keys that are here already; none is ever fetched."""

    def __init__(self, *keys: SigningKey) -> None:
        super().__init__("http://localhost")
        self._keys = [key.jwk for key in keys]

    def fetch_data(self) -> dict[str, Any]:
        return {"keys": self._keys}


def passport_claims(user_id: int | str, role: str = "default", **claims: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    """Return a passport's claims; a claim that is given as `None` is left out."""
    now = int(time.time())
    found = {
        "iss": conf.options().issuer,
        "aud": conf.options().service,
        "sub": str(user_id),
        "username": f"user{user_id}",
        "role": role,
        "sid": uuid4().hex,
        "jti": uuid4().hex,
        "iat": now,
        "exp": now + _LIFETIME,
        "token_type": passports.Passport.token_type,
    } | claims
    return {name: value for name, value in found.items() if value is not None}


def client_as(user_id: int | str, role: str = "default", **claims: Any) -> APIClient:  # noqa: ANN401  # JSON
    """Return DRF's test client, which sends what the gateway sends for that user: `client_as(1, "admin")`."""
    backend = passports.backend()
    if not isinstance(backend.jwks_client, LocalKeys):
        backend.jwks_client = LocalKeys(_KEY)
    client = APIClient()
    client.default_format = "json"
    passport = _KEY.sign(passport_claims(user_id, role, **claims))
    proof = {"HTTP_AUTHORIZATION": f"Bearer {passport}"}
    if conf.options().passport_header != "Authorization":
        proof = {"HTTP_X_GATEHOUSE_PASSPORT": passport}
    client.credentials(**proof, HTTP_REQUEST_USER_ID=str(user_id))
    return client


_KEY = SigningKey()
