"""What is counted and timed, over all workers: requests, under their route.

Where several workers count, each does so in files in memory. Their blocks are taken before they are written to: a write
to memory that the disk has no block for ends the process (SIGBUS). What there is no room to count is not counted.
"""

import asyncio
import os
from bisect import bisect_left
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

from prometheus_client import Counter, Histogram, mmap_dict, values

REQUESTS = Counter("gateway_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("gateway_request_seconds", "Seconds until the head of the answer.", ["route"])
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# Seconds until what has been counted can be read.
INTERVAL: Final = 0.5
# Bytes that an entry takes beside its key, at the most.
ENTRY: Final = 32


class Allocated(mmap_dict.MmapedDict):
    """The library's file of values, each block of which is there; raises `OSError` where it cannot be."""

    def __init__(self, filename: str) -> None:
        with Path(filename).open("a+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, mmap_dict._INITIAL_MMAP_SIZE)  # noqa: SLF001
            except OSError:
                # Whoever reads them all could not read an empty one.
                Path(filename).unlink()
                raise
        super().__init__(filename)  # type: ignore[no-untyped-call]  # not typed

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + ENTRY > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]  # not typed


values.MmapedDict = Allocated  # type: ignore[assignment,attr-defined]  # its own are made of this name


@lru_cache(4096)
def series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts and what times. Labels are a bounded set: what a client makes up is `other`."""
    return REQUESTS.labels(method if method in METHODS else "other", route, str(status)), SECONDS.labels(route)


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count and time a request."""
    with suppress(OSError):
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
            with suppress(OSError):
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
