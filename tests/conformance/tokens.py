"""Access tokens by name: valid ones, and one for each way in which a token is invalid."""

import base64
import json

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.conformance.gateways import Gateway


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the key's public half, as it is published."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def part(content: object) -> str:
    """Return one part of a token."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def signed_as_a_secret(claims: dict[str, object], secret: bytes, kid: str) -> str:
    """Return a token whose HMAC has the public key for its secret, which `jwt.encode` rejects."""
    algorithm = jwt.get_algorithm_by_name("HS256")
    said = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{part(claims)}"
    return f"{said}.{base64.urlsafe_b64encode(algorithm.sign(said.encode(), secret)).rstrip(b'=').decode()}"


def tokens(gateway: Gateway) -> dict[str, str]:
    """Return the gateway's tokens; only the first three are valid."""
    kid, key = gateway.signing_key()
    claims = gateway.claims("1", "admin")
    stranger = ec.generate_private_key(ec.SECP256R1())
    its_jwk = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(stranger.public_key()))
    good = gateway.token("1", "admin")
    return {
        "user": gateway.token("2", "default"),
        "admin": good,
        "editor": gateway.token("3", "editor"),
        "expired": gateway.token("1", "admin", ttl=-5),
        "tampered": good[:-8] + ("A" if good[-8] != "A" else "B") + good[-7:],
        "unsigned": good.rpartition(".")[0] + ".",
        "none": f"{part({'alg': 'none', 'typ': 'JWT', 'kid': kid})}.{part(claims)}.",
        "hs256": signed_as_a_secret(claims, public_pem(key), kid),
        "es384": jwt.encode(claims, ec.generate_private_key(ec.SECP384R1()), "ES384", {"kid": kid}),
        "stranger": jwt.encode(claims, stranger, "ES256", {"kid": kid}),
        "own-key": jwt.encode(claims, stranger, "ES256", {"kid": "mine", "jwk": its_jwk}),
        "unknown-kid": jwt.encode(claims, key, "ES256", {"kid": "unknown"}),
        "path-kid": jwt.encode(claims, key, "ES256", {"kid": f"../keys/{kid}"}),
        "no-kid": jwt.encode(claims, key, "ES256"),
        "other-issuer": gateway.token("1", "admin", iss="someone"),
        "no-subject": gateway.token("1", "admin", sub=None),
        # PyJWT rejects it.
        "number-subject": jwt.api_jws.encode(
            json.dumps(claims | {"sub": 1}).encode(), key, "ES256", {"kid": kid, "typ": "JWT"}
        ),
        "endless": gateway.token("1", "admin", exp=None),
        "no-session": gateway.token("1", "admin", sid=None),
        "not-yet": gateway.token("1", "admin", nbf=claims["exp"] - 60),
        "refresh": gateway.token("1", "admin", token_type="refresh"),
        "passport": gateway.token("1", "admin", token_type="passport", aud="echo"),
    }
