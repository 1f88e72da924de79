"""How many requests a rate limit admits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, RateLimit
from gateway.policy.access import Identity
from gateway.policy.headers import Headers
from gateway.policy.limits import SLACK, RouteLimits, Standing, admit, decide, of_route
from gateway.policy.rejections import RateLimited

NOW = 1_800_000_000.0


def run(limit: RateLimit, times: list[float], previous: float = 0.0) -> list[bool]:
    """Return which requests at the times are admitted."""
    admitted = []
    for now in times:
        verdict = admit(previous, now, limit)
        previous = verdict.next
        admitted.append(verdict.admitted)
    return admitted


@pytest.mark.parametrize(
    "limit", [RateLimit(1, 1.0), RateLimit(7, 1.0), RateLimit(120, 60.0), RateLimit(5000, 86400.0)]
)
def test_the_whole_count_is_admitted_at_once_and_no_more(limit: RateLimit) -> None:
    assert run(limit, [NOW] * (limit.count + 2)) == [True] * limit.count + [False, False]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_after_the_burst_requests_are_admitted_at_an_even_pace(count: int) -> None:
    limit = RateLimit(count, 60.0)
    interval = 60.0 / count
    burst = [NOW] * count
    assert run(limit, [*burst, NOW + interval * 0.9, NOW + interval * 1.001, NOW + interval * 1.9]) == [
        *[True] * count, False, True, False
    ]  # fmt: skip


def test_the_whole_count_is_available_again_after_the_period() -> None:
    limit = RateLimit(5, 60.0)
    assert run(limit, [NOW] * 6 + [NOW + 60.1] * 6) == ([True] * 5 + [False]) * 2
    assert run(limit, [NOW] * 6 + [NOW + 6000.0] * 6) == ([True] * 5 + [False]) * 2


def test_a_verdict_has_the_remaining_count_and_the_wait() -> None:
    limit = RateLimit(3, 60.0)
    previous, seen = 0.0, []
    for now in (NOW, NOW, NOW + 1, NOW + 2):
        verdict = admit(previous, now, limit)
        previous = verdict.next
        seen.append((verdict.admitted, verdict.remaining, verdict.wait))
    waits = [pytest.approx(wait) for wait in (20.0, 20.0, 19.0, 18.0)]
    assert seen == [(True, 2, waits[0]), (True, 1, waits[1]), (True, 0, waits[2]), (False, 0, waits[3])]
    assert admit(previous, NOW + 20.0, limit).admitted


def test_a_rejected_request_is_not_counted() -> None:
    limit = RateLimit(1, 10.0)
    first = admit(0.0, NOW, limit)
    refused = admit(first.next, NOW + 5, limit)
    assert (refused.admitted, refused.next) == (False, first.next)


def test_a_clock_set_back_delays_by_one_period_at_most() -> None:
    limit = RateLimit(2, 60.0)
    verdict = admit(NOW, NOW - 86_400.0, limit)
    assert (verdict.admitted, verdict.wait) == (False, pytest.approx(30.0))
    assert verdict.next == NOW - 86_400.0 + 60.0


limits = st.builds(RateLimit, st.integers(1, 50), st.sampled_from([1.0, 60.0, 3600.0]), st.sampled_from([0, 1, 3, 70]))
gaps = st.lists(st.floats(0, 2, allow_nan=False), max_size=120)


@given(limits, gaps, st.sampled_from([0.0, 1e3, NOW]))
def test_no_window_admits_more_than_the_count_plus_the_rate(limit: RateLimit, gaps: list[float], start: float) -> None:
    interval = limit.seconds / limit.count
    times, now = [], start
    for gap in gaps:
        now += gap * interval
        times.append(now)
    admitted = [now for now, was in zip(times, run(limit, times), strict=True) if was]
    for first in range(len(admitted)):
        elapsed = admitted[-1] - admitted[first]
        assert len(admitted) - first <= (limit.burst or limit.count) + elapsed / interval + 2 * SLACK


@given(limits, gaps)
def test_a_client_that_waits_for_retry_after_is_admitted(limit: RateLimit, gaps: list[float]) -> None:
    previous, now = 0.0, NOW
    for gap in gaps:
        now += gap * limit.seconds / limit.count / 4
        verdict = admit(previous, now, limit)
        previous = verdict.next
        if not verdict.admitted:
            assert 0 < verdict.wait <= limit.seconds / limit.count * (limit.burst or limit.count)
            assert admit(previous, now + verdict.wait, limit).admitted
            too_soon = now + verdict.wait - 2 * SLACK * limit.seconds / limit.count
            assert not admit(previous, max(now, too_soon), limit).admitted
        assert 0 <= verdict.remaining < (limit.burst or limit.count)


@given(limits, st.integers(1, 50))
def test_remaining_is_the_number_of_requests_admitted_next(limit: RateLimit, used: int) -> None:
    previous = 0.0
    for _ in range(min(used, limit.burst or limit.count)):
        verdict = admit(previous, NOW, limit)
        previous = verdict.next
    assert run(limit, [NOW] * (verdict.remaining + 1), previous) == [True] * verdict.remaining + [False]


def test_a_burst_bounds_what_comes_at_once_and_not_the_rate() -> None:
    limit = RateLimit(60, 60.0, burst=2)
    assert run(limit, [NOW] * 3) == [True, True, False]
    assert run(limit, [NOW + second for second in range(100)]) == [True] * 100
    assert run(RateLimit(1, 60.0, burst=3), [NOW] * 4) == [True, True, True, False]


@given(limits, gaps)
def test_no_more_than_remaining_is_admitted_within_the_wait(limit: RateLimit, gaps: list[float]) -> None:
    previous, now = 0.0, NOW
    for gap in gaps:
        now += gap * limit.seconds / limit.count / 4
        verdict = admit(previous, now, limit)
        previous = verdict.next
        soon = now + verdict.wait - 2 * SLACK * limit.seconds / limit.count
        assert run(limit, [max(now, soon)] * (verdict.remaining + 1), previous)[-1] is False


def test_a_request_counts_in_all_limits_or_in_none() -> None:
    small, large = RateLimit(1, 60.0), RateLimit(10, 60.0)
    first = decide([0.0, 0.0], NOW, [small, large])
    assert [verdict.admitted for verdict in first] == [True, True]
    second = decide([verdict.next for verdict in first], NOW, [small, large])
    assert [(verdict.admitted, verdict.remaining) for verdict in second] == [(False, 0), (True, 9)]
    assert [verdict.next for verdict in second] == [verdict.next for verdict in first]


class Caller:
    """A client's headers."""

    network = "192.0.2.1"

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs: Headers = list(pairs)


def configured(limits: dict[str, object], rate_limit: object, path: str = "/x/{id}/{rest...}") -> RouteLimits:
    route = {"path": path, "service": "a", "allow": "public", "rate_limit": rate_limit}
    services = {"a": {"url": "http://a"}}
    config = Config.model_validate({"version": 1, "services": services, "routes": [route], "limits": limits})
    found = of_route(config.routes[0], config)
    assert found
    return found


USER = Identity("7", "user", "default", "s")
ANY = {"rate": "10/minute"}


@pytest.mark.parametrize(
    ("by", "identity", "client", "key"),
    [
        ("user", USER, Caller(), "limit a user 7"),
        ("user", None, Caller(), "limit a address 192.0.2.1"),
        ("address", USER, Caller(), "limit a address 192.0.2.1"),
        ("header:X-Key", USER, Caller(("x-key", "k")), "limit a header X-Key k"),
        ("header:x-key", USER, Caller(("X-Key", "k"), ("X-Key", "l")), "limit a header x-key k,l"),
        # Leaving the header out must not avoid the limit.
        ("header:X-Key", USER, Caller(), "limit a address 192.0.2.1"),
        ("header:X-Key", USER, Caller(("X-Key", "")), "limit a address 192.0.2.1"),
        ("param:id", USER, Caller(), "limit a param id caf\xe9"),
        ("param:rest", None, Caller(), "limit a param rest b/c"),
    ],
)
def test_a_limit_counts_by_what_it_declares(by: str, identity: Identity | None, client: Caller, key: str) -> None:
    found = configured({"a": ANY | {"by": by}}, "a")
    # In any spelling of the path.
    for sent in ({"id": "caf%C3%A9", "rest": "b/c"}, {"id": "caf%C3%A9;x=1", "rest": "b/c"}):
        assert found.keys(identity, client, sent) == [key]


def test_a_long_value_is_counted_under_its_hash() -> None:
    found = configured({"a": ANY | {"by": "header:X"}}, "a")
    keys = {found.keys(None, Caller(("X", "k" * length)), {})[0] for length in (100, 1000, 1001)}
    assert len(keys) == 3
    assert max(map(len, keys)) < 120


def test_a_rate_without_a_name_counts_for_its_route_alone() -> None:
    (key,) = configured({}, "10/minute").keys(USER, Caller(), {})
    assert key == "/x/{id}/{rest...} GET,POST,PUT,PATCH,DELETE user 7"


def test_where_a_client_stands_is_in_two_headers() -> None:
    limits = {
        "one": {"rate": "3/hour"},
        "hidden": ANY | {"announce": False},
        "two": {"rate": "120/minute", "burst": 20},
    }
    found = configured(limits, ["one", "hidden", "two"])
    standing = Standing(found, decide([0.0, 0.0, 0.0], NOW, found.rates))
    policy = '"one";q=3;w=3600, "two";q=120;w=60'
    state = '"one";r=2;t=1200, "two";r=19;t=1'
    assert standing.headers() == [("ratelimit-policy", policy), ("ratelimit", state)]
    assert standing.lines() == f"\r\nratelimit-policy: {policy}\r\nratelimit: {state}".encode()
    standing.enforce()


def test_a_rejection_names_the_announced_limits_that_are_used_up() -> None:
    limits = {"one": {"rate": "1/hour"}, "hidden": {"rate": "1/day", "announce": False}, "two": ANY}
    found = configured(limits, ["one", "hidden", "two"])
    moments = [verdict.next for verdict in decide([0.0] * 3, NOW, found.rates)]
    with pytest.raises(RateLimited) as rejected:
        Standing(found, decide(moments, NOW, found.rates)).enforce()
    assert rejected.value.headers["Retry-After"] == "86400"
    assert rejected.value.headers["ratelimit"] == '"one";r=0;t=3600, "two";r=9;t=6'
    assert rejected.value.extensions["violated-policies"] == ["one"]


def test_a_hidden_limit_adds_no_header() -> None:
    found = configured({"hidden": ANY | {"announce": False}}, "hidden")
    assert Standing(found, decide([0.0], NOW, found.rates)).headers() == []
