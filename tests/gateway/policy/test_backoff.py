"""How long one waits after failed sign-ins."""

import pytest

from gateway.policy import backoff
from gateway.policy.backoff import NONE, Allowance, Failures

FIVE = Allowance(free=5, longest=900)


def after(failures: int, *, apart: float = 0.0, allowance: Allowance = FIVE) -> Failures:
    counted = NONE
    for number in range(failures):
        counted = backoff.failed(counted, 1000 + number * apart, allowance)
    return counted


@pytest.mark.parametrize(
    ("failures", "wait"),
    [(0, 0), (1, 0), (4, 0), (5, 1), (6, 2), (7, 4), (8, 8), (14, 512), (15, 900), (16, 900), (1000, 900)],
)
def test_the_wait_doubles_once_the_free_tries_are_used_up(failures: int, wait: float) -> None:
    assert backoff.wait(after(failures), 1000, FIVE) == wait


@pytest.mark.parametrize(("later", "wait"), [(0, 4), (1.5, 2.5), (4, 0), (5, 0), (-60, 4)])
def test_the_wait_starts_at_the_last_failure(later: float, wait: float) -> None:
    """A clock that is set back does not lengthen the wait."""
    assert backoff.wait(after(7), 1000 + later, FIVE) == wait


@pytest.mark.parametrize(
    ("later", "weight"), [(0, 6), (450, 5.5), (900, 5), (2700, 3), (5400, 0), (90_000, 0), (-900, 6)]
)
def test_a_failure_is_forgiven_each_time_the_longest_wait_goes_by(later: float, weight: float) -> None:
    assert backoff.weight(after(6), 1000 + later, FIVE) == weight


def test_tries_a_few_seconds_apart_count_as_many() -> None:
    assert backoff.wait(after(5, apart=20), 1080, FIVE) == 1


def test_one_failure_an_hour_is_never_throttled() -> None:
    assert backoff.wait(after(1000, apart=3600), 1000 + 999 * 3600, FIVE) == 0


def test_a_long_attack_is_forgiven_as_soon_as_one_that_just_reached_the_longest_wait() -> None:
    assert backoff.weight(after(100_000), 1000 + 15 * 900, FIVE) == 0


@pytest.mark.parametrize("counted", [NONE, after(1), after(9)])
def test_a_try_that_is_taken_back_does_not_count(counted: Failures) -> None:
    more = backoff.failed(counted, 1000, FIVE)
    assert backoff.taken_back(more).weight == pytest.approx(backoff.weight(counted, 1000, FIVE))
    assert backoff.taken_back(NONE).weight == 0


@pytest.mark.parametrize(("failures", "weight"), [(0, 1), (1, 2), (4, 5), (5, 5), (6, 6), (15, 14)])
def test_tries_without_a_verdict_count_up_to_the_first_wait(failures: int, weight: float) -> None:
    counted = backoff.unjudged(backoff.failed(after(failures), 1000, FIVE), FIVE)
    assert counted == Failures(weight, 1000)
    assert backoff.wait(counted, 1000, FIVE) <= max(1, backoff.wait(after(failures), 1000, FIVE))


@pytest.mark.parametrize("allowance", [Allowance(1, 1), Allowance(1, 86_400), Allowance(1000, 900)])
def test_at_the_bounds_of_the_settings_there_is_a_wait_and_it_is_bounded(allowance: Allowance) -> None:
    assert backoff.wait(after(allowance.free, allowance=allowance), 1000, allowance) == 1
    assert backoff.wait(after(2000, allowance=allowance), 1000, allowance) == allowance.longest


@pytest.mark.parametrize("said", ["user", "USER", "User ", "\tuser", "\uff55ser", "u\uff33er", "u\u017fer"])
def test_a_username_counts_as_one_however_it_is_written(said: str) -> None:
    assert backoff.username(said) == "user"


@pytest.mark.parametrize("other", ["users", "", "us er", "\u0443ser"])
def test_other_usernames_count_for_themselves(other: str) -> None:
    assert backoff.username(other) != "user"
