"""A service that is called directly accepts only the gateway's passports for this service."""

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.system.stack import Stack

TARGETS = {"users": "/api/users/me", "orders": "/api/orders"}


def passport(stack: Stack, **claims: Any) -> str:
    """Return a passport as the gateway signs it, with these claims changed."""
    (path,) = (stack.var / "gateway" / "keys").glob("*.pem")
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = int(time.time())
    payload = {"iss": "gatehouse", "sub": "1", "username": "admin", "role": "admin", "sid": "s", "jti": "j",
               "iat": now, "exp": now + 60, "token_type": "passport"} | claims  # fmt: skip
    return jwt.encode({k: v for k, v in payload.items() if v is not None}, key, "ES256", {"kid": path.stem})


def headers_of(token: str, user_id: str | None = "1") -> dict[str, str]:
    """Return the headers of a request with that passport."""
    return {"Authorization": f"Bearer {token}"} | ({} if user_id is None else {"Request_User_Id": user_id})


REJECTED: dict[str, Callable[[Stack, str, str], dict[str, str]]] = {
    "no passport": lambda stack, service, other: {"Request_User_Id": "1"},
    "another service's passport": lambda stack, service, other: headers_of(passport(stack, aud=other)),
    "a user's access token": lambda stack, service, other: headers_of(stack.login("admin", "a")),
    "an access token for this service": lambda stack, service, other: headers_of(
        passport(stack, aud=service, token_type="access")
    ),
    "an expired passport": lambda stack, service, other: headers_of(
        passport(stack, aud=service, exp=int(time.time()) - 5)
    ),
    "another request-user-id": lambda stack, service, other: headers_of(passport(stack, aud=service), "2"),
    "no request-user-id": lambda stack, service, other: headers_of(passport(stack, aud=service), None),
    "another issuer": lambda stack, service, other: headers_of(passport(stack, aud=service, iss="other")),
    "no signature": lambda stack, service, other: headers_of(passport(stack, aud=service).rpartition(".")[0] + "."),
}


@pytest.mark.parametrize("service", TARGETS)
@pytest.mark.parametrize("case", REJECTED)
def test_a_request_without_a_valid_passport_is_401(stack: Stack, service: str, case: str) -> None:
    other = next(name for name in TARGETS if name != service)
    reply = stack.ask("GET", TARGETS[service], to=service, **REJECTED[case](stack, service, other))
    assert reply.status == 401, reply.text
    assert reply.json["origin"] == service
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("service", TARGETS)
def test_a_passport_for_the_service_is_accepted(stack: Stack, service: str) -> None:
    reply = stack.ask("GET", TARGETS[service], to=service, **headers_of(passport(stack, aud=service)))
    assert reply.status == 200, reply.text


@pytest.mark.parametrize("path", ["/internal/credentials", "/internal/session-ends", "/internal/users/1"])
def test_internal_endpoints_reject_a_users_passport(stack: Stack, path: str) -> None:
    method = "POST" if path.endswith("credentials") else "GET"
    body = {"username": "admin", "password": "a"} if method == "POST" else None
    reply = stack.ask(method, path, body, to="users", **headers_of(passport(stack, aud="users")))
    assert reply.status == 403, reply.text


def test_the_gateway_rejects_a_passport_as_an_access_token(stack: Stack) -> None:
    for aud in ("users", None):
        assert stack.ask("GET", "/api/orders", token=passport(stack, aud=aud)).status == 401
