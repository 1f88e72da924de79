"""Who is asking."""

from collections.abc import Callable

import pytest

from gateway.identity import authentication, tokens
from gateway.policy.access import Identity
from gateway.policy.rejections import InvalidToken

SignedIn = Callable[..., dict[str, str]]


@pytest.mark.django_db
def test_a_token_is_verified_once_and_then_remembered(signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    value = signed_in()["Authorization"]
    who = Identity("2", "user", "default", "s2")
    assert authentication.identify(value) == who
    monkeypatch.setattr(tokens, "read_access", lambda token: pytest.fail("verified again"))
    assert authentication.identify(value) == who


@pytest.mark.django_db
def test_a_remembered_token_expires(signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    value = signed_in()["Authorization"]
    authentication.identify(value)
    later = authentication.time.time() + 901
    monkeypatch.setattr(authentication.time, "time", lambda: later)
    with pytest.raises(InvalidToken):
        authentication.identify(value)


def test_the_number_of_remembered_tokens_is_bounded(signed_in: SignedIn) -> None:
    verified = authentication.Verified(capacity=2)
    for number in range(4):
        verified.identity(signed_in(str(number))["Authorization"])
    assert [identity.user_id for identity, _ in verified.known.values()] == ["2", "3"]


@pytest.mark.parametrize("value", [None, "Basic dTpw", "Basic dTpw,Bearer abc"])
def test_nobody_is_asking_without_a_bearer_token(value: str | None) -> None:
    assert authentication.identify(value) is None


def test_a_caller_is_named_after_the_user() -> None:
    assert str(authentication.Caller(Identity("2", "ada", "default", "s"))) == "ada"
