"""Which gateway.yaml is in force in each worker, and whether the master has rejected a newer one.

The master creates the memory and its workers inherit it. A worker has one record, with its process id; the record of a
process that has ended is the next one's.
"""

import fcntl
import mmap
import os
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from struct import Struct
from typing import Final, NamedTuple

# A process id, and the first digits of a file's SHA-256.
RECORD: Final = Struct("=q8s")
RECORDS: Final = 1024
_DESCRIPTOR: Final = os.memfd_create("gateway-in-force")
os.ftruncate(_DESCRIPTOR, RECORD.size * RECORDS)
_MEMORY: Final = mmap.mmap(_DESCRIPTOR, RECORD.size * RECORDS)
# When the file was rejected, and how many faults it had; 0 if the file is in force.
REJECTED: Final = Struct("=dq")
_REJECTED: Final = mmap.mmap(-1, REJECTED.size)


class Rejection(NamedTuple):
    """A changed gateway.yaml that is not in force."""

    at: str
    faults: int


def reject(faults: int) -> None:
    """Note, in the master, that the file as it is now has faults."""
    REJECTED.pack_into(_REJECTED, 0, time.time(), faults)


def accept() -> None:
    """Note, in the master, that the file as it is now has none."""
    REJECTED.pack_into(_REJECTED, 0, 0.0, 0)


def rejection() -> Rejection | None:
    """Return when and why the last file was rejected; `None` if it was not."""
    at, faults = REJECTED.unpack_from(_REJECTED)
    return Rejection(datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"), faults) if faults else None


def is_alive(pid: int) -> bool:
    if pid == 0:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def note(digest: str) -> None:
    """Note that this process serves the gateway.yaml with this digest."""
    fcntl.lockf(_DESCRIPTOR, fcntl.LOCK_EX)
    try:
        pids = [pid for pid, _ in RECORD.iter_unpack(_MEMORY[:])]
        place = pids.index(os.getpid()) if os.getpid() in pids else free(pids)
        if place is not None:
            RECORD.pack_into(_MEMORY, place * RECORD.size, os.getpid(), digest[:8].encode())
    finally:
        fcntl.lockf(_DESCRIPTOR, fcntl.LOCK_UN)


def free(pids: list[int]) -> int | None:
    return next((place for place, pid in enumerate(pids) if not is_alive(pid)), None)


def read() -> dict[str, int]:
    """Return the number of workers by the first digits of the digest."""
    return dict(Counter(digest.decode() for pid, digest in RECORD.iter_unpack(_MEMORY[:]) if is_alive(pid)))
