"""Passports."""

import time

import jwt
import pytest
from tests.gateway.runtimes import runtime

from gateway.identity import passports
from gateway.policy.access import Identity

IDENTITY = Identity("2", "user", "default", "s")


def claims_of(passport: str) -> dict[str, object]:
    key = runtime().keys.current().signing
    return jwt.decode(passport, key.private.public_key(), ["ES256"], audience="orders", issuer="gatehouse")


def test_a_passport_names_user_and_service_and_holds_for_a_minute() -> None:
    claims = claims_of(passports.Passports(runtime().token_backend).get(IDENTITY, "orders"))
    assert claims["sub"] == "2"
    assert claims["aud"] == "orders"
    assert claims["role"] == "default"
    assert claims["sid"] == "s"
    assert claims["token_type"] == "passport"
    assert claims["exp"] - claims["iat"] == 60  # type: ignore[operator]


@pytest.mark.parametrize(
    ("identity", "service"),
    [
        (IDENTITY, "users"),
        (Identity("3", "user", "default", "s"), "orders"),
        (Identity("2", "user", "admin", "s"), "orders"),
        (Identity("2", "user", "default", "t"), "orders"),
    ],
)
def test_a_passport_is_reused_for_the_same_session_and_service_only(identity: Identity, service: str) -> None:
    made = passports.Passports(runtime().token_backend)
    first = made.get(IDENTITY, "orders")
    assert made.get(IDENTITY, "orders") == first
    assert made.get(identity, service) != first


def test_a_passport_near_its_end_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = passports.Passports(runtime().token_backend)
    first = made.get(IDENTITY, "orders")
    later = time.monotonic() + passports.LIFETIME - passports.MARGIN
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert made.get(IDENTITY, "orders") != first


def test_the_number_of_passports_is_bounded() -> None:
    made = passports.Passports(runtime().token_backend, capacity=2)
    for number in range(5):
        made.get(Identity(str(number), "user", "default", "s"), "orders")
    assert [identity.user_id for identity, _ in made.known] == ["3", "4"]
