"""Access tokens: what is accepted, and everything that is not."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.gateway.runtimes import runtime

from gateway.identity import keys, passports, tokens
from gateway.policy.access import Identity
from gateway.policy.rejections import InvalidToken

CLAIMS = {
    "iss": "gatehouse",
    "sub": "2",
    "username": "user",
    "role": "default",
    "sid": "s",
    "jti": "j",
    "token_type": "access",
}


def signing() -> keys.Key:
    return runtime().keys.current().signing


def a_passport() -> str:
    return passports.passport_create(runtime().token_backend, Identity("2", "user", "default", "s"), "orders")


def read(token: str) -> tuple[Identity, int]:
    return tokens.read_access(runtime().token_backend, token)


def signed(*, key: Any = None, alg: str = "ES256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    """Return a token like ours but for what is given; a claim that is `None` is left out."""
    now = int(time.time())
    made = CLAIMS | {"iat": now, "exp": now + 60} | claims
    return jwt.encode(
        {name: value for name, value in made.items() if value is not None},
        signing().private if key is None else key,
        alg,
        {"kid": signing().kid} | (header or {}),
    )


def public_pem() -> bytes:
    public = signing().private.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def hmac_with_the_public_key() -> str:
    """The classic confusion; PyJWT refuses to make one, so it is made by hand."""
    import hashlib
    import hmac

    def part(value: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    head = part({"alg": "HS256", "typ": "JWT", "kid": signing().kid})
    body = part(CLAIMS | {"iat": int(time.time()), "exp": int(time.time()) + 60})
    digest = hmac.new(public_pem(), head + b"." + body, hashlib.sha256).digest()
    return (head + b"." + body + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


def with_its_own_key(**header: Any) -> str:
    mine = ec.generate_private_key(ec.SECP256R1())
    return signed(key=mine, header={"jwk": keys.Key.of(mine).jwk(), **header})


REJECTED = {
    "empty": lambda: "",
    "garbage": lambda: "a.b.c",
    "one part": lambda: "abc",
    "no json": lambda: "e30.e30.e30",
    "not ascii": lambda: "é.é.é",
    "very long": lambda: "a" * 100_000,
    "expired": lambda: signed(exp=int(time.time()) - 1),
    "expired just now": lambda: signed(exp=int(time.time())),
    "not yet": lambda: signed(nbf=int(time.time()) + 60),
    "issued in the future": lambda: signed(iat=int(time.time()) + 60),
    "no exp": lambda: signed(exp=None),
    "exp no number": lambda: signed(exp="soon"),
    "exp with a fraction": lambda: signed(exp=time.time() + 60.5),
    "exp infinite": lambda: signed(exp=float("inf")),
    "iat no number": lambda: signed(iat=True),
    "nbf with a fraction": lambda: signed(nbf=0.5),
    "nbf before all time": lambda: signed(nbf=-1),
    "no iat": lambda: signed(iat=None),
    "no jti": lambda: signed(jti=None),
    "no sub": lambda: signed(sub=None),
    "sub a number": lambda: signed(sub=2),
    "no role": lambda: signed(role=None),
    "role a list": lambda: signed(role=["admin"]),
    "no session": lambda: signed(sid=None),
    "no username": lambda: signed(username=None),
    "no type": lambda: signed(token_type=None),
    "a refresh token": lambda: signed(token_type="refresh"),
    "a passport": a_passport,
    "another issuer": lambda: signed(iss="another"),
    "no issuer": lambda: signed(iss=None),
    "another key under our kid": lambda: signed(key=ec.generate_private_key(ec.SECP256R1())),
    "unknown kid": lambda: signed(header={"kid": "x"}),
    "no kid": lambda: jwt.encode(CLAIMS | {"iat": 0, "exp": 2**40}, signing().private, "ES256"),
    "kid of another type": lambda: "eyJhbGciOiJFUzI1NiIsImtpZCI6WzFdfQ.e30.AAAA",
    "alg none": lambda: jwt.encode(CLAIMS | {"iat": 0, "exp": 2**40}, None, "none", {"kid": signing().kid}),
    "hmac with the public key": hmac_with_the_public_key,
    "another curve": lambda: signed(key=ec.generate_private_key(ec.SECP384R1()), alg="ES384"),
    "its own key in jwk": with_its_own_key,
    "an address of keys in jku": lambda: with_its_own_key(jku="http://127.0.0.1:9/keys"),
    "a certificate in x5u": lambda: with_its_own_key(x5u="http://127.0.0.1:9/cert"),
    "changed payload": lambda: (lambda parts: f"{parts[0]}.{parts[1][:-2]}AA.{parts[2]}")(signed().split(".")),
    "no signature": lambda: signed().rpartition(".")[0] + ".",
}  # fmt: skip


@pytest.mark.parametrize("case", REJECTED)
def test_anything_but_an_access_token_of_the_gateway_is_rejected(case: str) -> None:
    with pytest.raises(InvalidToken):
        read(REJECTED[case]())


def test_a_token_of_a_clock_one_second_ahead_is_valid() -> None:
    ahead = int(time.time()) + 1
    assert read(signed(iat=ahead, nbf=ahead))[0].user_id == "2"


def test_an_access_token_names_its_user_and_expiry() -> None:
    until = int(time.time()) + 60
    assert read(signed(exp=until)) == (Identity("2", "user", "default", "s"), until)


def test_a_token_names_its_key_and_carries_the_contract_s_claims() -> None:
    token = tokens.AccessToken(runtime().token_backend)
    token.payload |= {"sub": "2", "username": "user", "role": "default", "sid": "s"}
    text = str(token)
    assert jwt.get_unverified_header(text) == {"alg": "ES256", "typ": "JWT", "kid": signing().kid}
    claims = jwt.decode(text, options={"verify_signature": False})
    assert set(claims) == {"iss", "sub", "username", "role", "sid", "jti", "iat", "exp", "token_type"}
    assert claims["exp"] - claims["iat"] == 900


def test_a_token_of_an_older_key_is_still_accepted() -> None:
    old = signed()
    new = keys.key_create(runtime().keys.storage, signs_from=time.time())
    runtime().keys.look()
    assert signing().kid == new.kid
    assert read(old)[0].user_id == "2"
