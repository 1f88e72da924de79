"""Each forged token is a 401 that describes what is wrong, at both doors, and never a 500."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.client import Reply, once
from tests.conformance.conftest import Fleet
from tests.conformance.forgeries import FORGERIES, SCHEMES, Forger, base64url, part
from tests.conformance.gateways import DOORS, Door
from tests.shares import one_in

# What a refresh token may be long at the most.
REFRESH_LENGTH = 4096


@pytest.fixture(scope="session")
def forger(fleet: Fleet) -> Callable[[Door], Forger]:
    """The forger for the gateway at a door."""
    return cache(lambda door: Forger(fleet[door, False]))


def ask(forger: Forger, target: str, *authorizations: str) -> Reply:
    """Send the request with those values of Authorization."""
    lines = [target + " HTTP/1.1", "Host: localhost", "Content-Length: 0"]
    lines += [f"Authorization: {value}" for value in authorizations]
    return once(forger.gateway.port, "\r\n".join([*lines, "", ""]).encode("latin-1"))


def refresh(forger: Forger, token: str) -> Reply:
    """Send it as a refresh token."""
    body = json.dumps({"refresh_token": token})
    lines = ["POST /api/token/refresh HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", "", body]
    return once(forger.gateway.port, "\r\n".join(lines).encode())


def check(reply: Reply) -> None:
    """Check that it is a 401 and a problem, with a challenge."""
    assert reply.status == 401, reply.body
    assert reply.get("Content-Type") == "application/problem+json"
    assert (reply.get("WWW-Authenticate") or "").startswith('Bearer realm="api"')
    problem: Any = reply.json()
    assert (problem["status"], problem["origin"]) == (401, "gateway")
    assert problem["detail"]


@pytest.mark.parametrize("door", ["fast"])
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_401_at_the_fast_door(name: str, door: Door, forger: Callable[[Door], Forger]) -> None:
    check_forgery(forger(door), name)


# Both doors pass what they have read to the same code.
@pytest.mark.parametrize("door", ["drf"])
@pytest.mark.parametrize("name", one_in(4, list(FORGERIES)))
def test_a_forgery_is_401_at_the_drf_door(name: str, door: Door, forger: Callable[[Door], Forger]) -> None:
    check_forgery(forger(door), name)


def check_forgery(forger: Forger, name: str) -> None:
    """Check that the forged token is rejected, also as a refresh token."""
    forged = FORGERIES[name](forger)
    # A public route rejects forgeries too; logout is a path of the gateway.
    for target in ("GET /api/private", "GET /api/open", "POST /api/logout"):
        check(ask(forger, target, f"Bearer {forged}"))
    if len(forged) <= REFRESH_LENGTH:
        check(refresh(forger, forged))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", SCHEMES)
def test_another_scheme_or_spelling_is_a_401(name: str, door: Door, forger: Callable[[Door], Forger]) -> None:
    for target in ("GET /api/private", "POST /api/logout"):
        check(ask(forger(door), target, SCHEMES[name](forger(door))))


@pytest.mark.parametrize("door", DOORS)
def test_the_token_that_forgeries_start_from_is_valid(door: Door, forger: Callable[[Door], Forger]) -> None:
    """Otherwise the other tests would prove nothing."""
    mine = forger(door)
    for good in (mine.good, mine.token(), mine.signed(), mine.raw("sub", '"1"'), mine.headed(typ="at+jwt")):
        assert ask(mine, "POST /api/logout", f"Bearer {good}").status == 204


@pytest.mark.parametrize("door", DOORS)
def test_several_authorizations_are_401(door: Door, forger: Callable[[Door], Forger]) -> None:
    good = f"Bearer {forger(door).good}"
    for several in ([good, good], [good, ""], ["", good], [good, "Basic eDp5"], ["Basic eDp5", good]):
        check(ask(forger(door), "GET /api/private", *several))


@pytest.mark.parametrize("door", DOORS)
def test_access_and_refresh_tokens_are_not_interchangeable(door: Door, forger: Callable[[Door], Forger]) -> None:
    check(refresh(forger(door), forger(door).good))
    check(ask(forger(door), "GET /api/private", f"Bearer {forger(door).signed(token_type='refresh')}"))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("size", [8_300, 70_000])
def test_a_token_over_the_header_limit_is_a_431(size: int, door: Door, forger: Callable[[Door], Forger]) -> None:
    assert ask(forger(door), "GET /api/private", f"Bearer {'a' * size}").status in {400, 431}


ALPHABET = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f\x85\xa0")
WORDS = st.text(ALPHABET, max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u", "x5c", "cty", "zip", "enc"]


@pytest.mark.parametrize("door", DOORS)
def test_random_text_is_never_a_valid_token(door: Door, forger: Callable[[Door], Forger]) -> None:
    mine = forger(door)
    header = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4).map(lambda said: mine.header | said)
    tokens = st.one_of(
        WORDS.filter(bool),
        st.tuples(WORDS, WORDS, WORDS).map(".".join),
        st.tuples(header.map(part), st.just(part(mine.claims())), st.binary(max_size=70).map(base64url)).map(".".join),
        st.tuples(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=64)).map(
            lambda parts: ".".join(base64url(each) for each in parts)
        ),
        # A valid token with one character replaced, except the last of a part, whose lowest bits are padding.
        st.tuples(st.integers(0, len(mine.good) - 3), ALPHABET).map(
            lambda change: mine.good[: change[0]] + change[1] + mine.good[change[0] + 1 :]
        ),
    )

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(tokens)
    def holds(token: str) -> None:
        if token != mine.good:
            check(ask(mine, "GET /api/private", f"Bearer {token}"))
            check(refresh(mine, token))

    holds()


@pytest.mark.parametrize("door", DOORS)
def test_no_forgery_causes_an_error_in_the_log(door: Door, forger: Callable[[Door], Forger]) -> None:
    """Must run last: the log then has all errors."""
    lines = forger(door).gateway.log_lines()[forger(door).logged :]
    assert [line for line in lines if line["level"] == "ERROR"] == []
