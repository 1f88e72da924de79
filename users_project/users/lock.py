"""The lock of the one writer of users."""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chassis.problems import Unavailable

from .record import JournalError

log = logging.getLogger(__name__)

# Seconds a writer waits for the one before it, less than a gateway waits for the answer; and between two looks.
TIMEOUT = 8.0
POLL = 0.001


class WriterLock:
    """The lock that one writer holds, of all threads and processes.

    `flock` belongs to an open file, so each acquisition opens its own; the threads of a process queue for one mutex
    first, so that only processes poll.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mutex = threading.Lock()
        self.holder: int | None = None

    @contextmanager
    def held(self, timeout: float = TIMEOUT) -> Iterator[None]:
        """Hold the lock; raise `Unavailable` where others hold it for longer than `timeout` seconds."""
        if self.holder == threading.get_ident():
            raise RuntimeError("This thread is writing users already: finish that write first.")
        deadline = time.monotonic() + timeout
        if not self.mutex.acquire(timeout=timeout):
            raise Unavailable("Other writes take too long. Try again.")
        try:
            descriptor = self.opened()
            try:
                wait_for_flock(descriptor, deadline)
                self.holder = threading.get_ident()
                yield
            finally:
                self.holder = None
                os.close(descriptor)
        finally:
            self.mutex.release()

    def opened(self) -> int:
        """Open the lock, made where it is missing; raise `JournalError` where it cannot be."""
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            error = JournalError(self.path, None, f"cannot be opened to lock the users: {exc.strerror}")
            log.error("%s", error)  # noqa: TRY400  # what is there is at fault, not the code
            raise error from exc


def wait_for_flock(descriptor: int, deadline: float) -> None:
    """Lock the open file; raise `Unavailable` at the deadline."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() >= deadline:
                raise Unavailable("Other writes take too long. Try again.") from exc
            time.sleep(POLL)
        else:
            return
