"""Rate limit counts, shared by the workers of this machine: one small file in memory, no broker.

Each count is a slot of 16 bytes: which key it is for, and the moment from which on policy counts (see `policy.limits`).
A key has a few slots of its own choosing; when all are taken by others, the one that is due first gives way. A count is
read and written under a lock of its part of the file, so that no two workers admit on the same count.
"""

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from functools import lru_cache
from pathlib import Path

from .config import RateLimit
from .policy.limits import Verdict, admit

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
        # By key: how many admissions are counted already, and until when they are good.
        self.ahead: dict[str, tuple[int, float]] = {}

    def admit(self, key: str, limit: RateLimit, now: float | None = None) -> Verdict:
        """Count one request of `key` and return whether the limit admits it; `now` is in Unix seconds."""
        now = time.time() if now is None else now
        share = min(limit.count // PORTION, MAX_SHARE)
        with self.lock:
            if share < 2:
                return self.count(key, limit, now, 1)
            left, until = self.ahead.pop(key, (0, 0.0))
            if left > 0 and now < until:
                self.ahead[key] = (left - 1, until)
                return Verdict(admitted=True, next=0.0, retry_after=0.0, remaining=left - 1)
            verdict = self.count(key, limit, now, share)
            if not verdict.admitted:
                return self.count(key, limit, now, 1)
            self.ahead[key] = (share - 1, now + share * limit.seconds / limit.count)
            if len(self.ahead) > MAX_AHEAD:
                del self.ahead[next(iter(self.ahead))]
            return verdict

    def count(self, key: str, limit: RateLimit, now: float, requests: int) -> Verdict:
        """Count in the key's own slot, or in the slot of its set that is due first."""
        tag, first = self.place(key)
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, SET.size, first)
        try:
            slots = SET.unpack_from(self.slots, first)
            tags, moments = slots[0::2], slots[1::2]
            mine = tags.index(tag) if tag in tags else moments.index(min(moments))
            verdict = admit(moments[mine] if tags[mine] == tag else 0.0, now, limit, requests)
            SLOT.pack_into(self.slots, first + mine * SLOT.size, tag, verdict.next)
            return verdict
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, SET.size, first)


def place(key: str) -> tuple[int, int]:
    """Return the key's tag, and the offset of its set."""
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little") or 1, int.from_bytes(digest[8:], "little") % SETS * SET.size
