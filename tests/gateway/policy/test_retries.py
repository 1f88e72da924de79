"""How long a retry waits."""

from datetime import UTC, datetime

import pytest

from gateway.policy.retries import backoff, retry_after

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(("tries", "most"), [(1, 0.025), (2, 0.075), (3, 0.175), (4, 0.25), (9, 0.25)])
def test_a_back_off_is_random_and_grows_to_a_bound(tries: int, most: float) -> None:
    waits = [backoff(tries) for _ in range(1000)]
    assert 0 <= min(waits) < most / 10
    assert most * 0.9 < max(waits) <= most


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("9" * 30, 999999999.0),
        ("Sat, 28 Nov 2026 12:00:07 GMT", 7.0),
        ("Sat, 28 Nov 2026 11:00:00 GMT", 0.0),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("²", 0.0),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value: str, seconds: float) -> None:
    assert retry_after([("Content-Type", "a/b"), ("Retry-After", value)], NOW) == seconds


def test_without_the_header_a_retry_need_not_wait() -> None:
    assert retry_after([("Content-Type", "a/b")], NOW) == 0.0
