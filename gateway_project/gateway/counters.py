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
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
        # By key: how many admissions are counted already, until when they are good, and the verdict that counted them.
        self.ahead: dict[str, tuple[int, float, Verdict]] = {}

    def admit(self, key: str, limit: RateLimit, now: float | None = None) -> Verdict:
        """Count one request of `key` and return whether the limit admits it; `now` is in Unix seconds."""
        now = time.time() if now is None else now
        share = share_of(limit)
        with self.lock:
            if share < 2:
                return self.count(key, limit, now, 1)
            ahead = self.ahead.pop(key, None)
            if ahead is not None and ahead[0] > 0 and now < ahead[1]:
                left, until, verdict = ahead[0] - 1, ahead[1], ahead[2]
                self.ahead[key] = (left, until, verdict)
                return Verdict(True, 0.0, verdict.wait, verdict.remaining + left)
            verdict = self.count(key, limit, now, share)
            if not verdict.admitted:
                return self.count(key, limit, now, 1)
            self.keep_ahead(key, share - 1, now + share * limit.interval, verdict)
            return replace(verdict, remaining=verdict.remaining + share - 1)

    def admit_all(self, keys: Sequence[str], limits: Sequence[RateLimit], now: float | None = None) -> list[Verdict]:
        """Count one request in all limits, or in none if one of them rejects it; each key is its limit's."""
        if len(keys) == 1:
            return [self.admit(keys[0], limits[0], now)]
        now = time.time() if now is None else now
        with self.lock:
            ahead = {key: each for key in keys if (each := self.ahead.get(key)) and each[0] > 0 and now < each[1]}
            counted: dict[str, Verdict] = {}
            if len(ahead) < len(keys):
                counted = self.count_all(
                    {key: limit for key, limit in zip(keys, limits, strict=True) if key not in ahead}, now
                )
            taken = int(all(verdict.admitted for verdict in counted.values()))
            verdicts = []
            for key in keys:
                if key in counted:
                    verdicts.append(counted[key])
                    continue
                left, until, verdict = ahead[key]
                self.ahead[key] = (left - taken, until, verdict)
                verdicts.append(Verdict(True, 0.0, verdict.wait, verdict.remaining + left - taken))
            return verdicts

    def count_all(self, limits: Mapping[str, RateLimit], now: float) -> dict[str, Verdict]:
        """Count one request in all limits, of those of thousands a share, or in none if one of them rejects it."""
        places = {key: self.place(key) for key in limits}
        parts = sorted({first for _, first in places.values()})
        try:
            for first in parts:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX, SET.size, first)
            moments = {key: self.read(*at)[0] for key, at in places.items()}
            verdicts = dict(zip(limits, decide(list(moments.values()), now, list(limits.values())), strict=True))
            is_counted = all(verdict.admitted for verdict in verdicts.values())
            for key, limit in limits.items():
                if is_counted and (share := share_of(limit)) >= 2:
                    more = admit(moments[key], now, limit, share)
                    if more.admitted:
                        self.keep_ahead(key, share - 1, now + share * limit.interval, more)
                        verdicts[key] = replace(more, remaining=more.remaining + share - 1)
                self.write(*places[key], verdicts[key].next, is_counted=is_counted)
            return verdicts
        finally:
            for first in parts:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, SET.size, first)

    def keep_ahead(self, key: str, left: int, until: float, verdict: Verdict) -> None:
        """Keep what is counted of a key for its next requests."""
        self.ahead.pop(key, None)
        self.ahead[key] = (left, until, verdict)
        if len(self.ahead) > MAX_AHEAD:
            del self.ahead[next(iter(self.ahead))]

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

    def write(self, tag: int, first: int, moment: float, *, is_counted: bool) -> None:
        """Write a moment; of a request that is not counted it takes no slot from another key."""
        _, at = self.read(tag, first)
        if is_counted or SLOT.unpack_from(self.slots, at)[0] == tag:
            SLOT.pack_into(self.slots, at, tag, moment)


def share_of(limit: RateLimit) -> int:
    """Return how many requests of the limit a worker counts at once; less than 2 is one after the other."""
    return min((limit.burst or limit.count) // PORTION, MAX_SHARE)


def place(key: str) -> tuple[int, int]:
    """Return the key's tag, and the offset of its set."""
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little") or 1, int.from_bytes(digest[8:], "little") % SETS * SET.size
