"""A lock on a file, with one holder over all threads and processes of a machine. It ends with its process.

Waiters poll it every millisecond. In SQLite's own queue a writer sleeps for up to 0.1 s while others overtake it, and a
blocking `flock` goes to the next in the queue, which may not run yet.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .problems import Unavailable

_POLL_SECONDS = 0.001


class LockError(Unavailable):
    """The lock's file cannot be opened. Clients see only the general detail; `str` is for the log."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__()
        self.text = f"{path}: the lock file cannot be opened: {reason}"

    def __str__(self) -> str:
        return self.text


def _busy() -> Exception:
    return Unavailable("Other writes take too long. Try again.")


class FileLock:
    """`flock` belongs to an open file, so each acquisition opens its own.

    The threads that share this object queue for a mutex first, so that only processes poll.
    """

    def __init__(self, path: Path, timeout: float, busy: Callable[[], Exception] = _busy) -> None:
        """Waiters wait for `timeout` seconds; what `busy` returns is raised then."""
        self.path = path
        self._timeout = timeout
        self._busy = busy
        self._mutex = threading.Lock()

    @contextmanager
    def held(self, timeout: float | None = None) -> Iterator[None]:
        """Hold the lock. Raises `busy`, or `LockError`."""
        timeout = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        if not self._mutex.acquire(timeout=timeout):
            raise self._busy()
        try:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            except OSError as exc:
                raise LockError(self.path, exc.strerror or str(exc)) from exc
            try:
                self._flock(descriptor, deadline)
                yield
            finally:
                os.close(descriptor)
        finally:
            self._mutex.release()

    def _flock(self, descriptor: int, deadline: float) -> None:
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise self._busy() from None
            time.sleep(_POLL_SECONDS)
