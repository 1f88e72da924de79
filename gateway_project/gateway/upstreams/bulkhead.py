"""How many requests a service has in flight, so that one that hangs takes a bounded part of the worker.

The name is from shipbuilding: a ship's walls keep the water of one leak in one part. Requests beyond the bound wait in
a short queue, the first one first, and are rejected if it is full or takes too long.
"""

import asyncio
from collections import deque
from contextlib import suppress

from gateway.config import ServicePolicies
from gateway.policy.rejections import UpstreamOverloaded

from . import measurements


class Bulkhead:
    """The requests of one service that are in flight in this worker."""

    __slots__ = ("in_flight", "limit", "queue", "service", "size", "wait")

    def __init__(self, service: str, policies: ServicePolicies) -> None:
        self.service = service
        self.limit = policies.max_in_flight
        self.size = policies.queue.size
        self.wait = policies.queue.wait
        self.in_flight = 0
        # The requests that wait. Each gets whether it has a place now.
        self.queue: deque[asyncio.Future[bool]] = deque()

    def enter_at_once(self) -> bool:
        if self.in_flight >= self.limit:
            return False
        self.in_flight += 1
        return True

    async def enter(self, within: float) -> None:
        """Take a place; wait in the queue if none is free. Raises `UpstreamOverloaded`."""
        if self.enter_at_once():
            return
        if len(self.queue) >= self.size or not await self.wait_for_place(min(self.wait, within)):
            measurements.count(self.service, measurements.REJECTED)
            raise UpstreamOverloaded(self.service)

    async def wait_for_place(self, within: float) -> bool:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self.queue.append(waiter)
        measurements.put(self.service, measurements.QUEUED, len(self.queue))
        timer = loop.call_later(within, self.expire, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # The client has left, perhaps after it got a place.
            if waiter.cancelled():
                with suppress(ValueError):
                    self.queue.remove(waiter)
            elif waiter.result():
                self.leave()
            raise
        finally:
            timer.cancel()
            measurements.put(self.service, measurements.QUEUED, len(self.queue))

    def expire(self, waiter: "asyncio.Future[bool]") -> None:
        if not waiter.done():
            self.queue.remove(waiter)
            waiter.set_result(False)

    def leave(self) -> None:
        """Give the place to the first request that waits, or free it."""
        while self.queue:
            waiter = self.queue.popleft()
            if not waiter.done():
                waiter.set_result(True)
                return
        self.in_flight -= 1
