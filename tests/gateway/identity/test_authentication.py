"""Which user a request identifies."""

import time
from collections.abc import Callable

import pytest
from tests.gateway.runtimes import runtime

from gateway.identity import authentication
from gateway.policy.access import Identity
from gateway.policy.rejections import InvalidToken

SignedIn = Callable[..., dict[str, str]]


@pytest.mark.django_db
def test_a_remembered_token_expires(signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    value = signed_in()["Authorization"]
    runtime().gate.authentication.identify(value)
    later = time.time() + 901
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(InvalidToken):
        runtime().gate.authentication.identify(value)


def test_the_number_of_remembered_tokens_is_bounded(signed_in: SignedIn) -> None:
    verified = authentication.Verified(runtime().token_backend, capacity=2)
    for number in range(4):
        verified.identity(signed_in(str(number))["Authorization"])
    assert [identity.user_id for identity, _ in verified.known.values()] == ["2", "3"]


@pytest.mark.parametrize("value", [None, "Basic dTpw", "Basic dTpw,Bearer abc"])
def test_a_request_without_a_bearer_token_identifies_no_user(value: str | None) -> None:
    assert runtime().gate.authentication.identify(value) is None


def test_a_caller_is_named_after_the_user() -> None:
    assert str(authentication.Caller(Identity("2", "ada", "default", "s"))) == "ada"
