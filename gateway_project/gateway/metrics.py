"""Requests counted and timed under their route, over all workers.

The master creates the memory and its workers inherit it, so counts outlive a worker that ends or is replaced. Each
process adds to a block without waiting for another process. The block of a process that has ended goes to the next
one, which adds to the values that are there.
"""

import asyncio
import fcntl
import json
import mmap
import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from operator import add, sub
from typing import Any, Final, Generic, NamedTuple, TypeVar

# Those that OpenTelemetry names; any other is counted as `_OTHER`.
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE"})
OTHER_METHOD: Final = "_OTHER"
# In place of a status: a request that a service's document does not allow, beside the response it got.
INVALID: Final = 0
# Upper bounds, in seconds: those of OpenTelemetry's `http.server.request.duration`.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, inf)
# Those of the times of requests, at most 10 % apart, so that percentiles can be told from the counts. `BUCKETS` are
# among them.
BOUNDS: Final = (
    *(
        float(f"{hundredths}e{exponent - 2}")
        for exponent in range(-4, 2)
        for hundredths in (*range(100, 250, 10), *range(250, 500, 25), *range(500, 1000, 50))
    ),
    100.0,
    inf,
)
# Seconds until a request that was counted can be read. A worker that is killed loses the counts of so many seconds.
INTERVAL: Final = 0.1
# Room for 15,000 series in each of 256 processes. Only pages in use take memory.
BLOCKS: Final = 256
BLOCK_SIZE: Final = 4 * 1024 * 1024
TIMES_BLOCK_SIZE: Final = 32 * 1024 * 1024


class Series(NamedTuple):
    """The labels of one series."""

    method: str
    route: str
    status: int


class UpstreamSeries(NamedTuple):
    """The labels of one series of a service's address, and what it counts."""

    service: str
    address: str
    what: str


K = TypeVar("K", bound=tuple[Any, ...])


class SharedMemory(Generic[K]):
    """Blocks of records, of 8-byte numbers throughout.

    A block starts with its length in numbers. A record is the length of its key in bytes, the key, a count for each
    bucket, and the sum of the seconds. An object keeps its block until it is deleted.
    """

    def __init__(
        self,
        descriptor: int | None = None,
        blocks: int = BLOCKS,
        block_size: int = BLOCK_SIZE,
        *,
        key: Callable[..., Any] = Series,
        name: str = "gateway-metrics",
        bounds: Sequence[float] = BUCKETS,
    ) -> None:
        self.key = key
        self.bounds = bounds
        if descriptor is None:
            descriptor = os.memfd_create(name)
            os.ftruncate(descriptor, blocks * block_size)
        self.descriptor = descriptor
        self.blocks = blocks
        self.block_size = block_size
        self.memory = mmap.mmap(descriptor, blocks * block_size)
        self.numbers = memoryview(self.memory).cast("d")
        self.lock = threading.Lock()
        # The process that `block` and `places` belong to: a fork inherits both, and has to claim a block itself.
        self.pid = 0
        self.block: int | None = None
        self.places: dict[K, int] = {}

    def add(self, series: K, times: Sequence[float]) -> None:
        """Count and time requests. A series for which there is no room is left out."""
        self.add_all([(series, times)])

    def add_all(self, counted: Iterable[tuple[K, Sequence[float]]]) -> None:
        with self.lock:
            self.own_block()
            for series, times in counted:
                if (place := self.places.get(series) or self.append(series)) is not None:
                    self.add_at(place, times)

    def add_at(self, place: int, times: Sequence[float]) -> None:
        bounds = self.bounds
        # Sorted first, most times cost no step in Python.
        ordered = sorted(times)
        start, end = 0, len(ordered)
        while start < end:
            bucket = bisect_left(bounds, ordered[start])
            following = bisect_right(ordered, bounds[bucket], start)
            self.numbers[place + bucket] += following - start
            start = following
        self.numbers[place + len(bounds)] += sum(times)

    def count(self, series: K, number: int) -> None:
        self.add(series, [0.0] * number)

    def mark(self, series: K, moment: float, number: int = 1) -> None:
        """Count something that takes no time, and keep the last moment of it instead of the sum of seconds."""
        with self.lock:
            if (place := self.place_of(series)) is not None:
                self.numbers[place] += number
                self.numbers[place + len(self.bounds)] = moment

    def put(self, series: K, value: float) -> None:
        """Set a value that goes up and down; those of all processes add up."""
        with self.lock:
            if (place := self.place_of(series)) is not None:
                self.numbers[place + len(self.bounds)] = value

    def place_of(self, series: K) -> int | None:
        """Return the place of the values of a series, `None` where there is no room."""
        self.own_block()
        return self.places.get(series) or self.append(series)

    def own_block(self) -> None:
        if self.pid != os.getpid():
            self.claim()

    def claim(self) -> None:
        """Take the first block that no living process has; the system unlocks it when this one ends."""
        self.pid, self.block, self.places = os.getpid(), None, {}
        for block in range(self.blocks):
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, block * self.block_size)
            except OSError:
                continue
            self.block = block
            self.places = dict(self.records(block))
            return

    def clear(self, is_gauge: Callable[[K], bool]) -> None:
        """Set the values of an ended process to 0 that are not counts."""
        with self.lock:
            self.own_block()
            for series, place in self.places.items():
                if is_gauge(series):
                    self.numbers[place + len(self.bounds)] = 0

    def append(self, series: K) -> int | None:
        """Add a record for the series; return the place of its values, `None` where there is no room."""
        if self.block is None:
            return None
        key = json.dumps(series).encode()
        first = self.block * self.block_size // 8
        start = first + max(int(self.numbers[first]), 1)
        place = start + 1 + (len(key) + 7) // 8
        end = place + len(self.bounds) + 1
        if end > first + self.block_size // 8:
            return None
        self.numbers[start] = len(key)
        self.memory[8 * start + 8 : 8 * start + 8 + len(key)] = key
        # A process that was killed before the next line may have left values of its own.
        for number in range(place, end):
            self.numbers[number] = 0
        self.numbers[first] = end - first
        self.places[series] = place
        return place

    def records(self, block: int) -> Iterator[tuple[K, int]]:
        """Yield the series of a block, each with the place of its values."""
        first = block * self.block_size // 8
        start, end = first + 1, first + int(self.numbers[first])
        while start < end:
            size = int(self.numbers[start])
            place = start + 1 + (size + 7) // 8
            yield self.key(*json.loads(self.memory[8 * start + 8 : 8 * start + 8 + size])), place
            start = place + len(self.bounds) + 1

    def read(self) -> dict[K, list[float]]:
        """Return the count of each bucket and the sum, by series, over all blocks."""
        found: dict[K, list[float]] = {}
        for series, values in self.each():
            before = found.get(series)
            found[series] = values if before is None else list(map(add, before, values))
        return found

    def each(self) -> Iterator[tuple[K, list[float]]]:
        """Yield the count of each bucket and the sum of each series, once for each block that has it."""
        for block in range(self.blocks):
            for series, place in self.records(block):
                yield series, list(self.numbers[place : place + len(self.bounds) + 1])

    def changes(self, known: dict[int, bytes]) -> Iterator[tuple[K, dict[int, int], float]]:
        """Yield what was added to each record, by bucket, and to its sum, since the last call with the same `known`."""
        size = 8 * (len(self.bounds) + 1)
        for block in range(self.blocks):
            first = block * self.block_size // 8
            after = self.numbers[first : first + int(self.numbers[first])].tobytes()
            before = known.get(block, b"")
            if after == before:
                continue
            known[block] = after
            for series, place in self.records(block):
                at = 8 * (place - first)
                new, old = after[at : at + size], before[at : at + size]
                # A record that is added now is part of the next call.
                if new == old or len(new) < size:
                    continue
                *counts, total = map(sub, array("d", new), array("d", old or bytes(size)))
                yield series, {bucket: int(count) for bucket, count in enumerate(counts) if count}, total


def coarse(values: Sequence[float]) -> list[float]:
    """Return the values of a record of `BOUNDS` by `BUCKETS`."""
    found = [0.0] * len(BUCKETS)
    for bound, count in zip(BOUNDS, values, strict=False):
        found[bisect_left(BUCKETS, bound)] += count
    return [*found, values[-1]]


MEMORY: Final[SharedMemory[Series]] = SharedMemory(block_size=TIMES_BLOCK_SIZE, bounds=BOUNDS)
UPSTREAMS: Final[SharedMemory[UpstreamSeries]] = SharedMemory(
    block_size=TIMES_BLOCK_SIZE, key=UpstreamSeries, name="gateway-upstreams", bounds=BOUNDS
)


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request. Labels are a bounded set: a method that a client makes up is `_OTHER`."""
    MEMORY.add(Series(method if method in METHODS else OTHER_METHOD, route, status), [seconds])


class Tally:
    """Counts and times of one worker, added to the memory ten times a second, which costs less than each time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.counted: dict[tuple[str, str, int], list[float]] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        if not self.counted:
            self.loop.call_later(INTERVAL, self.hand_on)
        key = (method if method in METHODS else OTHER_METHOD, route, status)
        times = self.counted.get(key)
        if times is None:
            self.counted[key] = [seconds]
        else:
            times.append(seconds)

    def hand_on(self) -> None:
        counted, self.counted = self.counted, {}
        MEMORY.add_all((Series(*key), times) for key, times in counted.items())
