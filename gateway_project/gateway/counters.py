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
from functools import cache
from pathlib import Path

from django.conf import settings

from .config import RateLimit
from .policy.limits import Verdict, admit

SLOT = struct.Struct("<Qd")
WAYS = 8
# 65,536 counts in 1 MiB.
SETS = 8192


class Counters:
    """The counts in a file; every process that opens the same file shares them."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, SETS * WAYS * SLOT.size)
        self.slots = mmap.mmap(descriptor, 0)
        self.descriptor = descriptor
        # File locks hold between processes, not between threads of one.
        self.lock = threading.Lock()

    def admit(self, key: str, limit: RateLimit, now: float | None = None) -> Verdict:
        """Count one request of `key` and return whether the limit admits it; `now` is in Unix seconds."""
        now = time.time() if now is None else now
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        tag = int.from_bytes(digest[:8], "little") or 1
        first = int.from_bytes(digest[8:], "little") % SETS * WAYS * SLOT.size
        with self.lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX, WAYS * SLOT.size, first)
            try:
                return self.count(tag, first, limit, now)
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, WAYS * SLOT.size, first)

    def count(self, tag: int, first: int, limit: RateLimit, now: float) -> Verdict:
        """Count in the key's own slot, or in the one of its set that is due first."""
        offsets = range(first, first + WAYS * SLOT.size, SLOT.size)
        slots = [(*SLOT.unpack_from(self.slots, offset), offset) for offset in offsets]
        mine = next((slot for slot in slots if slot[0] == tag), None)
        _, previous, offset = mine or (tag, 0.0, min(slots, key=lambda slot: slot[1])[2])
        verdict = admit(previous, now, limit)
        SLOT.pack_into(self.slots, offset, tag, verdict.next)
        return verdict


@cache
def counters() -> Counters:
    """Return the machine's counts."""
    return Counters(settings.STATE / "counters")
