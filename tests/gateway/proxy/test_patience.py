"""The clock of a body or a response: Apache's RequestReadTimeout, and a bound on each wait."""

import pytest

from gateway.proxy.patience import BASE_TIME, BYTES_PER_SECOND, MAX_WAIT, Patience


def test_a_client_that_moves_nothing_has_the_first_seconds() -> None:
    assert Patience().start(100.0, 0) == 100.0 + BASE_TIME


@pytest.mark.parametrize("size", [0, 1, BYTES_PER_SECOND, 10 * BYTES_PER_SECOND])
def test_each_500_bytes_are_another_second(size: int) -> None:
    assert Patience().start(100.0, size) == 100.0 + BASE_TIME + size / BYTES_PER_SECOND


def test_no_wait_is_longer_than_a_minute_however_much_came() -> None:
    assert Patience().start(100.0, 2**30) == 100.0 + MAX_WAIT


@pytest.mark.parametrize(("every", "size"), [(5.0, 1), (1.0, BYTES_PER_SECOND // 2), (19.0, 1)])
def test_a_client_that_drips_is_late_soon(every: float, size: int) -> None:
    patience, now, moved = Patience(), 0.0, 0
    while patience.start(now, moved) > now + every:
        now += every
        moved += size
        patience.stop(now)
        assert now < 2 * BASE_TIME + 1, "it has been waited for too long"


def test_a_client_that_goes_on_at_500_bytes_a_second_is_never_late() -> None:
    patience, now, moved = Patience(), 0.0, 0
    for _ in range(10_000):
        assert patience.start(now, moved) > now + 1
        now += 1
        moved += BYTES_PER_SECOND
        patience.stop(now)


def test_the_clock_stands_still_while_nothing_is_waited_for() -> None:
    patience = Patience()
    patience.start(0.0, 0)
    patience.stop(5.0)
    assert patience.start(1000.0, 0) == 1000.0 + BASE_TIME - 5


def test_a_wait_is_renewed_for_a_client_that_has_moved_and_not_for_one_that_has_not() -> None:
    patience = Patience()
    until = patience.start(0.0, 0)
    assert patience.renew(until, 0) is None
    assert patience.renew(until, 5 * BYTES_PER_SECOND) == until + 5
    assert patience.renew(until + 6, 5 * BYTES_PER_SECOND + 1) is None
