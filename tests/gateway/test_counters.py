"""Counts that the workers share."""

from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice
from pathlib import Path

from gateway import counters
from gateway.config import RateLimit

LIMIT = RateLimit(count=100, seconds=3600)


MANY = RateLimit(count=20_000, seconds=36_000)


def admitted(path: Path, times: int, limit: RateLimit = LIMIT) -> int:
    """Count so many requests and return how many were admitted."""
    counts = counters.Counters(path)
    return sum(counts.admit("key", limit).admitted for _ in range(times))


def test_processes_share_a_limit_exactly(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        assert sum(pool.map(admitted, [tmp_path / "counts"] * 4, [60] * 4)) == 100


def test_processes_that_count_ahead_never_admit_more_than_the_limit(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        shares = list(pool.map(admitted, [tmp_path / "counts"] * 4, [8000] * 4, [MANY] * 4))
    # A portion of 20 each may be lost, if it was not used in time.
    assert 20_000 - 4 * 20 <= sum(shares) <= 20_000 + 10, "10: what comes back in the seconds of the test"


def test_a_portion_counted_ahead_expires(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    assert counts.admit("key", MANY, now=1000.0).admitted
    assert counts.ahead["key"].until == 1000.0 + 20 * 36_000 / 20_000
    # Another worker uses up the rest: the portion is still available here, and nothing after it.
    other = counters.Counters(tmp_path / "counts")
    assert sum(other.admit("key", MANY, now=1000.0).admitted for _ in range(20_100)) == 20_000 - 20
    assert [counts.admit("key", MANY, now=1000.0).admitted for _ in range(20)] == [True] * 19 + [False]


def test_threads_share_a_limit_exactly(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    counts = counters.Counters(tmp_path / "counts")
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: counts.admit("key", LIMIT).admitted, range(300))) == 100


def test_a_restarted_worker_finds_the_counts(tmp_path: Path) -> None:
    assert admitted(tmp_path / "counts", 100) == 100
    assert admitted(tmp_path / "counts", 1) == 0


def test_keys_do_not_count_for_each_other(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    one = RateLimit(count=1, seconds=3600)
    assert [counts.admit(f"key {number}", one).admitted for number in range(500)] == [True] * 500
    assert [counts.admit(f"key {number}", one).admitted for number in range(500)] == [False] * 500


def test_a_set_that_is_full_drops_the_count_that_is_due_first(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    one = RateLimit(count=1, seconds=3600)
    in_one_set = (key for key in map(str, count()) if counters.place(key)[1] == 0)
    *keys, another = islice(in_one_set, counters.WAYS + 1)
    for number, key in enumerate(keys):
        assert counts.admit(key, one, now=1000.0 + number).admitted
    assert counts.admit(another, one, now=2000.0).admitted
    assert not counts.admit(keys[1], one, now=2000.0).admitted
    assert counts.admit(keys[0], one, now=2000.0).admitted


PAIR = (RateLimit(count=30, seconds=3600), RateLimit(count=100, seconds=3600))


def admitted_by_both(path: Path, keys: list[str], times: int, order: int = 1) -> int:
    counts = counters.Counters(path)
    keys, pair = keys[::order], PAIR[::order]
    return sum(all(verdict.admitted for verdict in counts.admit_all(keys, pair)) for _ in range(times))


def test_processes_share_several_limits_exactly(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    # In both orders: locks that are taken in the order of the keys would wait for each other.
    with ProcessPoolExecutor(4) as pool:
        runs = pool.map(admitted_by_both, [path] * 4, [["a", "b"]] * 4, [300] * 4, [1, -1] * 2)
        assert sum(runs) == 30
    # A request that one limit rejects counts in neither: 30 are counted in the other.
    assert sum(counters.Counters(path).admit("b", PAIR[1]).admitted for _ in range(100)) == 70


def test_several_limits_of_one_set_have_a_slot_each(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    keys = list(islice((key for key in map(str, count()) if counters.place(key)[1] == 0), 2))
    assert admitted_by_both(tmp_path / "counts", keys, 40) == 30
    assert [verdict.remaining for verdict in counts.peek(keys[1:], PAIR[1:])] == [69]


def test_a_rejected_request_takes_no_slot_from_another_key(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    limit = RateLimit(count=1, seconds=3600)
    *keys, new = islice((key for key in map(str, count()) if counters.place(key)[1] == 0), counters.WAYS + 1)
    assert all(counts.admit(key, limit, now=1000.0).admitted for key in keys)
    assert not counts.admit_all([keys[0], new], [limit, limit], now=1000.0)[0].admitted
    assert not any(counts.admit(key, limit, now=1000.0).admitted for key in keys)


def test_a_look_counts_nothing(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    one = RateLimit(count=1, seconds=3600)
    for _ in range(2):
        assert counts.peek(["key"], [one])[0].admitted
    assert counts.admit("key", one).admitted
    assert not counts.peek(["key"], [one])[0].admitted


def test_the_share_counted_ahead_is_part_of_what_remains(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    assert [counts.admit("key", MANY, now=1000.0).remaining for _ in range(25)] == list(range(19_999, 19_974, -1))


def both_of_many(path: Path, times: int) -> int:
    """Count so many requests in two limits of thousands, and return how many were admitted."""
    counts = counters.Counters(path)
    return sum(
        all(verdict.admitted for verdict in counts.admit_all(["key", "other"], [MANY, MANY])) for _ in range(times)
    )


def test_several_limits_of_thousands_are_counted_ahead_and_never_admit_more(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        shares = list(pool.map(both_of_many, [tmp_path / "counts"] * 4, [8000] * 4))
    assert 20_000 - 4 * 20 <= sum(shares) <= 20_000 + 10, "10: what comes back in the seconds of the test"


def test_what_is_counted_ahead_in_several_limits_remains(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    rates = [MANY, RateLimit(count=30, seconds=36_000)]
    found = [counts.admit_all(["key", "small"], rates, now=1000.0) for _ in range(25)]
    assert [[verdict.remaining for verdict in each] for each in found] == [
        [20_000 - number, 30 - number] for number in range(1, 26)
    ]


def test_a_request_that_one_limit_rejects_uses_up_nothing_that_is_counted_ahead(tmp_path: Path) -> None:
    counts = counters.Counters(tmp_path / "counts")
    rates = [MANY, RateLimit(count=5, seconds=36_000)]
    admitted = [
        all(verdict.admitted for verdict in counts.admit_all(["key", "small"], rates, now=1000.0)) for _ in range(500)
    ]
    assert (sum(admitted), admitted[:5]) == (5, [True] * 5)
    assert counts.admit("key", MANY, now=1000.0).remaining == 20_000 - 6
    # Nothing is counted ahead for requests that are rejected.
    other = counters.Counters(tmp_path / "counts")
    for _ in range(100):
        other.admit_all(["key", "small"], rates, now=1000.0)
    assert counters.Counters(tmp_path / "counts").peek(["key"], [MANY], now=1000.0)[0].remaining == 20_000 - 20 - 1
