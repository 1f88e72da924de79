"""Whose turn it is to write to SQLite, of threads and of processes. PostgreSQL's writers need none."""

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from django.conf import settings
from django.db import connection

from chassis.databases import DatabaseUnavailable

from .locks import NEXT, TURN, byte_lock, byte_unlock, open_locks

# Seconds that a write waits while others have waited for longer, and already hold as many threads as may wait.
SOON = 2.0
# Seconds between two looks whether another process is done writing; later, that part of what was waited.
LOOK = 0.0003
LATER = 0.02
# Seconds of waiting that SQLite is not told of, as that takes a statement.
UNNOTICED = 0.1


class Turns:
    """Lets threads and processes write to SQLite one after the other.

    They would take turns anyhow, but SQLite lets who waits sleep up to 0.1 s at a time, and others overtake. And while
    the database is not to be had for long, no more than so many threads wait for it: the others go on reading.
    """

    def __init__(self, patient: int) -> None:
        self.patient = threading.Semaphore(patient)
        self.writing = threading.Lock()
        self.since = math.inf
        self.own = threading.local()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Be the one that writes; a turn within a turn is the same one. Raises `DatabaseUnavailable`."""
        if getattr(self.own, "taken", False):
            yield
            return
        now = time.monotonic()
        # Who writes may have waited for long already.
        if not self.patient.acquire(timeout=max(0.0, min(now, self.since) + SOON - now)):
            raise DatabaseUnavailable
        try:
            with self.alone(now + settings.BUSY_TIMEOUT):
                yield
        finally:
            self.patient.release()

    @contextmanager
    def alone(self, deadline: float) -> Iterator[None]:
        """Hold the lock. What is left of the time until the deadline is for other processes."""
        if not self.writing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DatabaseUnavailable
        try:
            self.since, self.own.taken = time.monotonic(), True
            with process_turn(deadline), until(deadline):
                yield
        finally:
            self.since, self.own.taken = math.inf, False
            self.writing.release()


@contextmanager
def process_turn(deadline: float) -> Iterator[None]:
    """Keep this service's other processes from writing. Who has waited goes before who wrote last."""
    locks = open_locks()
    try:
        wait_for(locks, NEXT, deadline)
        wait_for(locks, TURN, deadline)
        byte_unlock(locks, NEXT)
        yield
    finally:
        os.close(locks)


def wait_for(locks: int, number: int, deadline: float) -> None:
    """Take the lock; raise `DatabaseUnavailable` at the deadline."""
    began = now = time.monotonic()
    while not byte_lock(locks, number):
        if now >= deadline:
            raise DatabaseUnavailable
        time.sleep(max(LOOK, LATER * (now - began)))
        now = time.monotonic()


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Let SQLite wait no longer than that for its lock."""
    left = deadline - time.monotonic()
    if left > settings.BUSY_TIMEOUT - UNNOTICED:
        yield
        return
    try:
        wait_at_most(left)
        yield
    finally:
        wait_at_most(settings.BUSY_TIMEOUT)


def wait_at_most(seconds: float) -> None:
    """Set how long SQLite waits for its lock on this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {max(0, round(seconds * 1000))}")


TURNS = Turns(settings.PATIENT_WRITERS)


def write_turn() -> AbstractContextManager[None]:
    """Return what one writes within; entering it raises `DatabaseUnavailable` where SQLite is not to be had in time."""
    return TURNS.take() if connection.vendor == "sqlite" else nullcontext()
