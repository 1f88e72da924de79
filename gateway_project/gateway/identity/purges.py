"""Expired rows are deleted now and then, by a worker that handles such rows."""

import time
from collections.abc import Callable


class Purge:
    """Calls `forget` at most once in `every` seconds."""

    def __init__(self, every: float, forget: Callable[[], object]) -> None:
        self.every = every
        self.forget = forget
        self.due = 0.0

    def when_due(self) -> None:
        now = time.monotonic()
        if now >= self.due:
            self.due = now + self.every
            self.forget()
