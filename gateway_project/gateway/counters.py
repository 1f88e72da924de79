"""Rate limit counts, shared by the workers of this machine: one small file in memory, no broker.

Each count is a slot of 16 bytes: which key it is for, and the moment from which on policy counts (see `policy.limits`).
A key has a few slots of its own choosing; when all are taken by others, the one that is due first gives way. A count is
read and written under a lock of its part of the file, so that no two workers admit on the same count. A request with
several limits locks the parts of all its counts, in the order of the file.
"""

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from .config import RateLimit
from .policy.limits import Verdict, admit, decide

SLOT = struct.Struct("<Qd")
WAYS = 8
SET = struct.Struct("<" + "Qd" * WAYS)
# 65,536 counts in 1 MiB.
SETS = 8192

# Of a limit of thousands a worker counts a thousandth at once, at most so many requests: a lock between processes
# costs more than all else that is decided on a request. What it does not use in their own time is lost, never more.
PORTION = 1000
MAX_SHARE = 64
MAX_AHEAD = 4096


class Portion:
    """Admissions that are counted already: how many are left, until when they are good, and what counted them."""

    __slots__ = ("left", "until", "verdict")

    def __init__(self, left: int, until: float, verdict: Verdict) -> None:
        self.left = left
        self.until = until
        self.verdict = verdict

    def take(self, number: int = 1) -> Verdict:
        self.left -= number
        return Verdict(True, 0.0, self.verdict.wait, self.verdict.remaining + self.left)


class Counters:
    """The counts in a file, shared by all processes that open it."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        # With its blocks: to write to memory that the disk has none for ends the process.
        os.posix_fallocate(descriptor, 0, SETS * SET.size)
        self.slots = mmap.mmap(descriptor, 0)
        self.descriptor = descriptor
        # File locks hold between processes, not between threads of one.
        self.lock = threading.Lock()
        self.place = lru_cache(MAX_AHEAD)(place)
        # By key.
        self.ahead: dict[str, Portion] = {}

    def admit(self, key: str, limit: RateLimit, now: float | None = None) -> Verdict:
        """Count one request of `key` and return whether the limit admits it; `now` is in Unix seconds."""
        now = time.time() if now is None else now
        with self.lock:
            if (portion := self.portion(key, now)) is not None:
                return portion.take()
            share = share_of(limit)
            verdict = self.count(key, limit, now, share)
            if share == 1:
                return verdict
            if not verdict.admitted:
                return self.count(key, limit, now, 1)
            return self.keep_ahead(key, share, now + share * limit.interval, verdict).take()

    def admit_all(self, keys: Sequence[str], limits: Sequence[RateLimit], now: float | None = None) -> list[Verdict]:
        """Count one request in all limits, or in none if one of them rejects it; each key is its limit's."""
        if len(keys) == 1:
            return [self.admit(keys[0], limits[0], now)]
        now = time.time() if now is None else now
        with self.lock:
            ahead = [self.portion(key, now) for key in keys]
            if None not in ahead:
                return [portion.take() for portion in ahead if portion is not None]
            missing = [index for index, portion in enumerate(ahead) if portion is None]
            counted = self.count_all([keys[index] for index in missing], [limits[index] for index in missing], now)
            taken = int(all(verdict.admitted for verdict in counted))
            following = iter(counted)
            return [next(following) if portion is None else portion.take(taken) for portion in ahead]

    def portion(self, key: str, now: float) -> Portion | None:
        """Return what is counted of the key already, if it is good for another request."""
        portion = self.ahead.get(key)
        return portion if portion is not None and portion.left > 0 and now < portion.until else None

    def count_all(self, keys: Sequence[str], limits: Sequence[RateLimit], now: float) -> list[Verdict]:
        """Count one request in all limits, of those of thousands a share, or in none if one of them rejects it."""
        places = [self.place(key) for key in keys]
        parts = sorted({first for _, first in places})
        shares = [share_of(limit) for limit in limits]
        try:
            for first in parts:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX, SET.size, first)
            slots = [self.read(*place) for place in places]
            moments = [moment for moment, _ in slots]
            verdicts = [
                admit(moment, now, limit, share) for moment, limit, share in zip(moments, limits, shares, strict=True)
            ]
            if not all(verdict.admitted for verdict in verdicts):
                shares = [1] * len(shares)
                verdicts = decide(moments, now, limits)
            is_counted = all(verdict.admitted for verdict in verdicts)
            for (tag, first), (_, at), verdict in zip(places, slots, verdicts, strict=True):
                # Of two keys of one set, the first may have taken the slot that the second one would have.
                mine = at if len(parts) == len(places) else self.read(tag, first)[1]
                # A request that is not counted takes no slot from another key.
                if is_counted or SLOT.unpack_from(self.slots, mine)[0] == tag:
                    SLOT.pack_into(self.slots, mine, tag, verdict.next)
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
        return [
            verdict if share == 1 else self.keep_ahead(key, share, now + share * limit.interval, verdict).take()
            for key, limit, share, verdict in zip(keys, limits, shares, verdicts, strict=True)
        ]

    def keep_ahead(self, key: str, share: int, until: float, verdict: Verdict) -> Portion:
        """Keep the share that is counted of a key for its next requests."""
        self.ahead.pop(key, None)
        self.ahead[key] = portion = Portion(share, until, verdict)
        if len(self.ahead) > MAX_AHEAD:
            del self.ahead[next(iter(self.ahead))]
        return portion

    def peek(self, keys: Sequence[str], limits: Sequence[RateLimit], now: float | None = None) -> list[Verdict]:
        """Return the verdicts on one request of the keys, and count nothing."""
        now = time.time() if now is None else now
        return decide([self.read(*self.place(key))[0] for key in keys], now, limits)

    def count(self, key: str, limit: RateLimit, now: float, requests: int) -> Verdict:
        """Count in the key's own slot, or in the slot of its set that is due first."""
        tag, first = self.place(key)
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, SET.size, first)
        try:
            previous, at = self.read(tag, first)
            verdict = admit(previous, now, limit, requests)
            SLOT.pack_into(self.slots, at, tag, verdict.next)
            return verdict
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, SET.size, first)

    def read(self, tag: int, first: int) -> tuple[float, int]:
        """Return the moment of a tag, 0 for a new one, and the offset of the slot that it has or would get."""
        slots = SET.unpack_from(self.slots, first)
        tags, moments = slots[0::2], slots[1::2]
        mine = tags.index(tag) if tag in tags else moments.index(min(moments))
        return moments[mine] if tags[mine] == tag else 0.0, first + mine * SLOT.size


def share_of(limit: RateLimit) -> int:
    """Return how many requests of the limit a worker counts at once."""
    return min(max((limit.burst or limit.count) // PORTION, 1), MAX_SHARE)


def place(key: str) -> tuple[int, int]:
    """Return the key's tag, and the offset of its set."""
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little") or 1, int.from_bytes(digest[8:], "little") % SETS * SET.size
