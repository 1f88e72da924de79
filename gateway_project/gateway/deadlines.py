"""A moment by which something must have happened, on an event loop."""

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """Calls `on_timeout` once the moment `at` has passed; `at` may be moved, and is `math.inf` while there is none.

    A deadline moves several times per request and is hardly ever reached. Moving it later sets no timer: the one that
    is set looks at `at` when it fires. When it fires is kept here, because the loop's handle need not know: for a
    moment that is nearly now, uvloop's `call_at` returns a handle without `when`.
    """

    __slots__ = ("at", "fires_at", "handle", "loop", "on_timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_timeout: Callable[[], None]) -> None:
        self.loop = loop
        self.on_timeout: Callable[[], None] | None = on_timeout
        self.at = math.inf
        self.handle: asyncio.Handle | None = None
        self.fires_at = math.inf

    def set(self, at: float) -> None:
        self.at = at
        if at < self.fires_at and self.on_timeout:
            if self.handle:
                self.handle.cancel()
            self.fires_at = at
            self.handle = self.loop.call_at(at, self._fire)

    def clear(self) -> None:
        self.at = math.inf

    def close(self) -> None:
        """Remove the deadline for good. Drops the callback, whose object usually refers to this one."""
        self.at = self.fires_at = math.inf
        self.on_timeout = None
        if self.handle:
            self.handle.cancel()
            self.handle = None

    def _fire(self) -> None:
        self.handle = None
        self.fires_at = math.inf
        if self.loop.time() < self.at:
            self.set(self.at)
        elif self.on_timeout:
            self.on_timeout()
