"""How many requests a rate limit admits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import RateLimit
from gateway.policy.limits import SLACK, admit

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
        seen.append((verdict.admitted, verdict.remaining, verdict.retry_after))
    assert seen == [(True, 2, 0.0), (True, 1, 0.0), (True, 0, 0.0), (False, 0, pytest.approx(18.0))]
    assert admit(previous, NOW + 20.0, limit).admitted


def test_a_rejected_request_is_not_counted() -> None:
    limit = RateLimit(1, 10.0)
    first = admit(0.0, NOW, limit)
    refused = admit(first.next, NOW + 5, limit)
    assert (refused.admitted, refused.next) == (False, first.next)


def test_a_clock_set_back_delays_by_one_period_at_most() -> None:
    limit = RateLimit(2, 60.0)
    verdict = admit(NOW, NOW - 86_400.0, limit)
    assert (verdict.admitted, verdict.retry_after) == (False, pytest.approx(30.0))
    assert verdict.next == NOW - 86_400.0 + 60.0


limits = st.builds(RateLimit, st.integers(1, 50), st.sampled_from([1.0, 60.0, 3600.0]))
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
        assert len(admitted) - first <= limit.count + elapsed / interval + 2 * SLACK


@given(limits, gaps)
def test_a_client_that_waits_for_retry_after_is_admitted(limit: RateLimit, gaps: list[float]) -> None:
    previous, now = 0.0, NOW
    for gap in gaps:
        now += gap * limit.seconds / limit.count / 4
        verdict = admit(previous, now, limit)
        previous = verdict.next
        if not verdict.admitted:
            assert 0 < verdict.retry_after <= limit.seconds
            assert admit(previous, now + verdict.retry_after, limit).admitted
            too_soon = now + verdict.retry_after - 2 * SLACK * limit.seconds / limit.count
            assert not admit(previous, max(now, too_soon), limit).admitted
        assert (verdict.retry_after == 0) == verdict.admitted
        assert 0 <= verdict.remaining < limit.count


@given(limits, st.integers(1, 50))
def test_remaining_is_the_number_of_requests_admitted_next(limit: RateLimit, used: int) -> None:
    previous = 0.0
    for _ in range(min(used, limit.count)):
        verdict = admit(previous, NOW, limit)
        previous = verdict.next
    assert run(limit, [NOW] * (verdict.remaining + 1), previous) == [True] * verdict.remaining + [False]
