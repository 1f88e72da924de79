"""The last 24 hours of traffic, for the dashboard: three rings of time slots in one file of a fixed size.

The workers count requests and times in shared memory (`metrics`). Once a second gunicorn's master adds what is new
there to the slot of the moment in each ring, so that history costs the workers nothing, and a worker that is killed or
replaced leaves no gap. It writes the finest ring at once and the others every five seconds. A slot has, for each
series, the number of requests by bucket of `metrics.BOUNDS`, from which percentiles follow, and the sum of the seconds.

The file has a place for each slot. A place holds the beginning of its slot, and a checksum: a reader skips what is
being written. A master that starts goes on in the slot of the moment. The file is written with `pwrite`: on a full disk
that fails, while writing to mapped memory would end the process.
"""

import fcntl
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple, cast

from .metrics import BOUNDS, MEMORY, UPSTREAMS, Series, SharedMemory, UpstreamSeries

log = logging.getLogger(__name__)

# Seconds between two records of the finest ring, and how many of them make one of the others.
INTERVAL: Final = 1.0
OTHERS_EVERY: Final = 5
# The beginning of a slot in Unix seconds, and length and checksum of its content.
HEAD: Final = Struct("<QII")
# Bytes of a slot's place. Series without room, those with the fewest requests, are left out of the slot.
PLACE: Final = 64 * 1024
MAX_SERIES: Final = 2000

AnySeries = Series | UpstreamSeries


class Ring(NamedTuple):
    """So many slots of so many seconds; `first` is the number of its first place in the file."""

    seconds: int
    slots: int
    first: int


MINUTES: Final = Ring(10, 30, 0)
HOUR: Final = Ring(60, 60, 30)
DAY: Final = Ring(600, 144, 90)
RINGS: Final = (MINUTES, HOUR, DAY)
SIZE: Final = PLACE * sum(ring.slots for ring in RINGS)


@dataclass
class Times:
    """Requests of one series: how many, how long, and how many by bucket."""

    buckets: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def add(self, buckets: dict[int, int], seconds: float) -> None:
        for bucket, count in buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.seconds += seconds

    def percentile(self, share: float) -> float:
        """Return the seconds within which this share of the requests had a response; 0 without requests."""
        wanted, before = share * self.count, 0
        for bucket, count in sorted(self.buckets.items()):
            if before + count >= wanted:
                low = BOUNDS[bucket - 1] if bucket else 0.0
                high = BOUNDS[bucket]
                return low if high == inf else low + (high - low) * (wanted - before) / count
            before += count
        return 0.0


@dataclass
class Slot:
    """What was counted from `start` on, in Unix seconds."""

    start: int
    times: dict[AnySeries, Times] = field(default_factory=dict)

    def add(self, series: AnySeries, buckets: dict[int, int], seconds: float) -> None:
        if series in self.times or len(self.times) < MAX_SERIES:
            self.times.setdefault(series, Times()).add(buckets, seconds)

    def encode(self) -> bytes:
        """Return the slot's place in the file, without series that have no room there."""
        entries = [
            (series, [number for pair in times.buckets.items() for number in pair], times.seconds)
            for series, times in sorted(self.times.items(), key=lambda each: each[1].count, reverse=True)
        ]
        content = compressed(entries)
        while len(content) > PLACE - HEAD.size:
            entries = entries[: len(entries) * 3 // 4]
            content = compressed(entries)
        return HEAD.pack(self.start, len(content), zlib.crc32(content)) + content

    @classmethod
    def decode(cls, place: bytes) -> "Slot | None":
        """Return the slot of a place, `None` if there is none, or if it is being written."""
        if len(place) < HEAD.size:
            return None
        start, length, checksum = HEAD.unpack_from(place)
        content = place[HEAD.size : HEAD.size + length]
        if not length or zlib.crc32(content) != checksum:
            return None
        slot = cls(start)
        for labels, numbers, seconds in json.loads(zlib.decompress(content)):
            series = Series(*labels) if isinstance(labels[2], int) else UpstreamSeries(*labels)
            slot.times[series] = Times(dict(zip(numbers[::2], numbers[1::2], strict=True)), seconds)
        return slot


def compressed(entries: list[tuple[AnySeries, list[int], float]]) -> bytes:
    return zlib.compress(json.dumps(entries, separators=(",", ":")).encode(), 1)


def offset(ring: Ring, start: int) -> int:
    return PLACE * (ring.first + start // ring.seconds % ring.slots)


class Recorder:
    """Adds what is counted to the file. One process writes it: gunicorn's master."""

    def __init__(
        self, path: Path, requests: SharedMemory[Series] = MEMORY, upstreams: SharedMemory[UpstreamSeries] = UPSTREAMS
    ) -> None:
        self.path = path
        self.memories: tuple[SharedMemory[Series] | SharedMemory[UpstreamSeries], ...] = (requests, upstreams)
        self.known: tuple[dict[int, bytes], ...] = ({}, {})
        self.slots: dict[Ring, Slot] = {}
        # The rings whose slot has more than the file.
        self.unwritten: set[Ring] = set()
        self.ticks = 0
        self.descriptor: int | None = None
        self.due = 0.0
        self.fault = ""

    def tick(self, now: float | None = None) -> None:
        """Record what is new, at most once a second."""
        moment = time.monotonic()
        if moment >= self.due:
            self.due = moment + INTERVAL
            self.ticks += 1
            self.save(time.time() if now is None else now, () if self.ticks % OTHERS_EVERY else RINGS)

    def save(self, now: float, rings: Sequence[Ring] = RINGS) -> None:
        """Record what is new. A fault is logged once: the gateway goes on without history."""
        try:
            self.record(now, (MINUTES, *rings))
            self.fault = ""
        except Exception as exc:
            if str(exc) != self.fault:
                log.exception("The dashboard's history cannot be written to %s", self.path)
            self.fault = str(exc)

    def record(self, now: float, rings: Sequence[Ring] = RINGS) -> None:
        """Add what is new to the slot of the moment in each ring, and write the slots of the given rings."""
        if self.descriptor is None:
            self.descriptor = self.open()
        for ring in RINGS:
            start = int(now) // ring.seconds * ring.seconds
            slot = self.slots.get(ring)
            if slot is None or slot.start != start:
                self.write(ring)
                self.slots[ring] = self.stored(ring, start)
        for memory, known in zip(self.memories, self.known, strict=True):
            for series, buckets, seconds in memory.changes(known):
                if buckets:
                    self.unwritten.update(RINGS)
                    for slot in self.slots.values():
                        slot.add(series, buckets, seconds)
        for ring in rings:
            self.write(ring)

    def write(self, ring: Ring) -> None:
        if ring in self.unwritten:
            slot = self.slots[ring]
            os.pwrite(cast("int", self.descriptor), slot.encode(), offset(ring, slot.start))
            self.unwritten.discard(ring)

    def open(self) -> int:
        """Open the file; raise `OSError` while another master has it, as during an upgrade of gunicorn."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def stored(self, ring: Ring, start: int) -> Slot:
        """Return the slot as a master before this one left it, else a new one."""
        slot = Slot.decode(os.pread(cast("int", self.descriptor), PLACE, offset(ring, start)))
        return slot if slot and slot.start == start else Slot(start)


class History:
    """Reads the file. Slots that are over are decoded once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.decoded: dict[tuple[Ring, int], tuple[bytes, Slot]] = {}

    def slots(self, ring: Ring, now: float | None = None) -> list[Slot]:
        """Return the slots of a ring, the oldest first. Where nothing was recorded they are empty."""
        last = int(time.time() if now is None else now) // ring.seconds * ring.seconds
        starts = range(last - (ring.slots - 1) * ring.seconds, last + 1, ring.seconds)
        found = dict(self.read(ring)) if self.path.exists() else {}
        return [found.get(start) or Slot(start) for start in starts]

    def read(self, ring: Ring) -> Iterator[tuple[int, Slot]]:
        with self.path.open("rb", buffering=0) as file:
            for number in range(ring.slots):
                at = PLACE * (ring.first + number)
                head = os.pread(file.fileno(), HEAD.size, at)
                before = self.decoded.get((ring, number))
                if before is None or before[0] != head:
                    slot = self.decode(file.fileno(), at)
                    if slot is None:
                        continue
                    before = self.decoded[ring, number] = head, slot
                yield before[1].start, before[1]

    @staticmethod
    def decode(descriptor: int, at: int) -> Slot | None:
        """Return the slot of a place; once more if it was being written."""
        return next((slot for _ in range(3) if (slot := Slot.decode(os.pread(descriptor, PLACE, at)))), None)


def total(slots: list[Slot]) -> dict[AnySeries, Times]:
    found: dict[AnySeries, Times] = {}
    for slot in slots:
        for series, times in slot.times.items():
            found.setdefault(series, Times()).add(times.buckets, times.seconds)
    return found
