"""The lock that makes one writer of all threads and processes."""

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from chassis.problems import Unavailable

from .record import StoreError, owner_only

# Seconds a writer waits for the one before it: less than the gateway waits for the response.
TIMEOUT = 8.0
_POLL_SECONDS = 0.001
_BUSY = "Other writes take too long. Try again."


class WriterLock:
    """`flock` belongs to an open file, so each acquisition opens its own.

    The threads of a process queue for a mutex first, so that only processes poll.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.Lock()

    @contextmanager
    def held(self, timeout: float = TIMEOUT) -> Iterator[None]:
        """Hold the lock; raise `Unavailable` if others hold it for longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if not self._mutex.acquire(timeout=timeout):
            raise Unavailable(_BUSY)
        try:
            with self._open() as file:
                _flock(file, deadline)
                yield
        finally:
            self._mutex.release()

    def _open(self) -> BinaryIO:
        try:
            return open(self.path, "ab", opener=owner_only)  # Path.open takes no opener
        except OSError as exc:
            raise StoreError(self.path, None, f"The lock file cannot be opened: {exc.strerror}.") from exc


def _flock(file: BinaryIO, deadline: float) -> None:
    while True:
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.monotonic() >= deadline:
            raise Unavailable(_BUSY)
        time.sleep(_POLL_SECONDS)
