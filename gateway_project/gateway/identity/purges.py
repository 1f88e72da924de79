"""Rows of no use any more are forgotten now and then, by whichever worker has to do with such rows."""

import time
from collections.abc import Callable


class Purge:
    """Forgets at most once in `every` seconds, of a clock that no one sets."""

    def __init__(self, every: float, forget: Callable[[], object]) -> None:
        self.every = every
        self.forget = forget
        self.due = 0.0

    def when_due(self) -> None:
        """Forget, if the last time was long enough ago."""
        now = time.monotonic()
        if now >= self.due:
            self.due = now + self.every
            self.forget()
