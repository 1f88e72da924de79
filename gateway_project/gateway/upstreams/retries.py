"""Which errors are retried, and the budget of a service's retries.

A retry helps if the error is the request's bad luck: a replica that restarts, a connection that breaks. If the whole
service fails, retries are load that keeps it from recovering. The budget tells the two apart: retries are at most a
share of the service's requests in the last 10 seconds. A few are always allowed, so that a service with few requests
has retries at all. Envoy and Finagle have budgets of this kind.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.config import Retry

# Seconds of requests that count, and the parts in which they are forgotten.
WINDOW: Final = 10.0
STEP: Final = 1.0
# Retries in a window that every service gets, for each worker.
FLOOR: Final = 3


class RetryBudget:
    """The requests and retries of one service in the last 10 seconds, as one worker has sent them."""

    __slots__ = ("next_step", "on_step", "past", "requests", "retries")

    def __init__(self) -> None:
        # Called at each step.
        self.on_step: Callable[[], None] | None = None
        # All that were counted, and the same numbers at the beginning of each step.
        self.requests = 0
        self.retries = 0
        self.past: deque[tuple[float, int, int]] = deque()
        self.next_step = 0.0

    def count(self, now: float) -> None:
        """Count a request, not its retries."""
        if now >= self.next_step:
            self.step(now)
        self.requests += 1

    def step(self, now: float) -> None:
        """Begin a step; forget those before the window."""
        self.next_step = now + STEP
        self.past.append((now, self.requests, self.retries))
        while self.past[0][0] <= now - WINDOW - STEP:
            self.past.popleft()
        if self.on_step:
            self.on_step()

    def left(self, now: float, share: float) -> int:
        if now >= self.next_step:
            self.step(now)
        _, requests, retries = self.past[0]
        return max(0, max(FLOOR, int(share * (self.requests - requests))) - (self.retries - retries))

    def is_in_use(self) -> bool:
        return bool(self.past) and self.past[0][1:] != (self.requests, self.retries)

    def spend(self, now: float, share: float) -> bool:
        if self.left(now, share) <= 0:
            return False
        self.retries += 1
        return True


class RetryPolicy:
    """A route's `retry`, prepared, with the budget of its service."""

    __slots__ = ("attempts", "budget", "causes", "share", "statuses")

    def __init__(self, retry: Retry, budget: RetryBudget) -> None:
        self.attempts = retry.attempts
        self.causes = frozenset(retry.on)
        # Of responses that are retried; none without retries.
        self.statuses = frozenset(int(cause) for cause in retry.on if cause.isdecimal() and retry.attempts > 1)
        self.share = retry.budget
        self.budget = budget
