"""What is counted and timed, over all workers: requests, under their route."""

import asyncio
from bisect import bisect_left
from functools import lru_cache
from typing import Any, Final, cast

from prometheus_client import Counter, Histogram

REQUESTS = Counter("gateway_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("gateway_request_seconds", "Seconds until the head of the answer.", ["route"])
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# Seconds until what has been counted can be read.
INTERVAL: Final = 0.5


@lru_cache(4096)
def series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts and what times. Labels are a bounded set: what a client makes up is `other`."""
    return REQUESTS.labels(method if method in METHODS else "other", route, str(status)), SECONDS.labels(route)


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count and time a request."""
    requests, duration = series(method, route, status)
    requests.inc()
    duration.observe(seconds)


class Tally:
    """Counts that are handed on twice a second: each of them costs a tenth of what it does in a file of all workers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.counted: dict[tuple[str, str, int], list[float]] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count and time a request."""
        if not self.counted:
            self.loop.call_later(INTERVAL, self.hand_on)
        key = (method if method in METHODS else "other", route, status)
        times = self.counted.get(key)
        if times is None:
            self.counted[key] = [seconds]
        else:
            times.append(seconds)

    def hand_on(self) -> None:
        """Add what has been counted to the metrics."""
        counted, self.counted = self.counted, {}
        for key, times in counted.items():
            requests, duration = series(*key)
            requests.inc(len(times))
            observe_all(duration, times)


def observe_all(histogram: Histogram, times: list[float]) -> None:
    """Observe them all at once, which the library has no call for: each bucket is written once, not for each time."""
    inside = cast("Any", histogram)
    buckets: dict[int, int] = {}
    for seconds in times:
        index = bisect_left(inside._upper_bounds, seconds)  # noqa: SLF001
        buckets[index] = buckets.get(index, 0) + 1
    inside._sum.inc(sum(times))  # noqa: SLF001
    for index, number in buckets.items():
        inside._buckets[index].inc(number)  # noqa: SLF001
