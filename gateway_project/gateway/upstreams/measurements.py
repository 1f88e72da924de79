"""What is counted and timed of one address, for /metrics: in memory that the workers share."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from gateway.metrics import INTERVAL, UPSTREAMS, UpstreamSeries

if TYPE_CHECKING:
    from .pools import Pool

# Addresses of a service's names that have series of their own; further ones share one, so that names whose addresses
# change all the time do not fill the memory.
MAX_RESOLVED: Final = 64
OTHER: Final = "other"

# What a series counts.
SECONDS: Final = "seconds"
EJECTIONS: Final = "ejections"
# Errors by their cause. Those by status are responses of 500 and more, which `SECONDS` has too.
ERRORS: Final = "errors:"
STATUS_ERRORS: Final = f"{ERRORS}5xx"
IN_FLIGHT: Final = "in flight"
EJECTED: Final = "ejected"
# What series of a whole service count, which have no address: retries by their cause, and so on.
RETRIES: Final = "retries:"
RETRIES_REJECTED: Final = "retries rejected"
REJECTED: Final = "rejected"
QUEUED: Final = "queued"
BUDGET: Final = "retries left"
GAUGES: Final = frozenset({IN_FLIGHT, EJECTED, QUEUED, BUDGET})


class Measurements:
    """What has happened at an address since it was last added to the shared memory."""

    __slots__ = ("counts", "label", "loop", "pool", "seconds", "timer")

    def __init__(self, pool: "Pool", label: str) -> None:
        self.pool = pool
        self.loop = pool.loop
        self.label = label
        # Seconds from each request until its response was ready to be sent on.
        self.seconds: list[float] = []
        self.counts: Counter[str] = Counter()
        self.timer: asyncio.TimerHandle | None = None

    def responded(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if self.timer is None:
            self.timer = self.loop.call_later(INTERVAL, self.hand_on)

    def count(self, what: str) -> None:
        self.counts[what] += 1
        if self.timer is None:
            self.timer = self.loop.call_later(INTERVAL, self.hand_on)

    def hand_on(self) -> None:
        """Add it all to the memory; once more in a while, if that will have changed without a call."""
        self.timer = None
        seconds, self.seconds = self.seconds, []
        counts, self.counts = self.counts, Counter()
        if seconds:
            UPSTREAMS.add(self.series(SECONDS), seconds)
        for what, number in counts.items():
            UPSTREAMS.count(self.series(what), number)
        in_flight, is_ejected = self.pool.in_flight, not self.pool.is_healthy
        UPSTREAMS.put(self.series(IN_FLIGHT), in_flight)
        UPSTREAMS.put(self.series(EJECTED), is_ejected)
        if in_flight or is_ejected:
            self.timer = self.loop.call_later(INTERVAL, self.hand_on)

    def series(self, what: str) -> UpstreamSeries:
        return UpstreamSeries(self.pool.service, self.label, what)

    def close(self) -> None:
        """Add what is left: the process ends, or the address is gone."""
        if self.timer:
            self.timer.cancel()
            self.hand_on()
        if self.timer:
            self.timer.cancel()
            self.timer = None
            UPSTREAMS.put(self.series(IN_FLIGHT), 0)
            UPSTREAMS.put(self.series(EJECTED), 0)


def count(service: str, what: str) -> None:
    UPSTREAMS.count(UpstreamSeries(service, "", what), 1)


def put(service: str, what: str, value: int) -> None:
    UPSTREAMS.put(UpstreamSeries(service, "", what), value)
