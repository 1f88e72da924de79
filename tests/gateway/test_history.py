"""The history: what the workers count, in slots of time, in a file of a fixed size."""

import os
import signal
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.gateways import Gateway
from tests.gateway.service import Reply, Seen, Service
from tests.waiting import wait_until

from gateway import history
from gateway.history import DAY, HOUR, MINUTES, RINGS, History, Recorder, Times, total
from gateway.metrics import BOUNDS, BUCKETS, Series, SharedMemory, UpstreamSeries, coarse

NOW = 1_800_000_000.0
ONE = Series("GET", "/one", 200)


class Recorded:
    """A recorder of its own memory, and the reader of its file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restart()

    def restart(self) -> None:
        """Begin with empty memory, as a new master does."""
        self.requests: SharedMemory[Series] = SharedMemory(blocks=4, bounds=BOUNDS)
        self.upstreams: SharedMemory[UpstreamSeries] = SharedMemory(blocks=4, key=UpstreamSeries, bounds=BOUNDS)
        self.recorder = Recorder(self.path, self.requests, self.upstreams)

    def record(self, now: float, *times: float, series: Series = ONE) -> None:
        self.requests.add(series, times)
        self.recorder.record(now)

    def count(self, ring: history.Ring, now: float, series: Series = ONE) -> int:
        return total(History(self.path).slots(ring, now)).get(series, Times()).count


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path / "history")


def test_the_bounds_are_at_most_a_tenth_apart_and_include_those_of_the_metrics() -> None:
    assert set(BUCKETS) <= set(BOUNDS)
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert all(high / low < 1.1001 for low, high in pairwise(BOUNDS) if high < inf)
    memory: SharedMemory[Series] = SharedMemory(blocks=1, bounds=BOUNDS)
    memory.add(ONE, [0.0, 0.004, 0.005, 0.3, 2.0, 1000.0])
    fine = memory.read()[ONE]
    usual: SharedMemory[Series] = SharedMemory(blocks=1)
    usual.add(ONE, [0.0, 0.004, 0.005, 0.3, 2.0, 1000.0])
    assert coarse(fine) == pytest.approx(usual.read()[ONE])


def test_percentiles_are_within_a_tenth_of_the_exact_ones() -> None:
    memory: SharedMemory[Series] = SharedMemory(blocks=1, bounds=BOUNDS)
    exact = [0.0007 * 1.006**number for number in range(1000)]
    memory.add(ONE, exact)
    ((_, buckets, seconds),) = memory.changes({})
    times = Times(buckets, seconds)
    assert (times.count, times.seconds) == (1000, pytest.approx(sum(exact)))
    for share in (0.5, 0.95, 0.99):
        assert times.percentile(share) == pytest.approx(exact[int(share * 1000) - 1], rel=0.1)
    assert Times().percentile(0.5) == 0.0


def test_each_request_is_in_one_slot_of_each_ring_until_its_time_is_over(recorded: Recorded) -> None:
    recorded.record(NOW, 0.1, 0.2)
    recorded.record(NOW + 1, 0.3)
    recorded.record(NOW + 2)
    assert [recorded.count(ring, NOW + 2) for ring in RINGS] == [3, 3, 3]
    recorded.record(NOW + 200, 0.4)
    slots = History(recorded.path).slots(MINUTES, NOW + 200)
    assert [slot.times[ONE].count for slot in slots if slot.times] == [3, 1]
    assert [recorded.count(ring, NOW + 400) for ring in RINGS] == [1, 4, 4]
    assert [recorded.count(ring, NOW + 4000) for ring in RINGS] == [0, 0, 4]
    assert [recorded.count(ring, NOW + 100_000) for ring in RINGS] == [0, 0, 0]


def test_a_slot_of_a_coarse_ring_is_written_before_the_next_one_begins(recorded: Recorded) -> None:
    recorded.requests.add(ONE, [0.1, 0.2])
    recorded.recorder.record(NOW, [MINUTES])
    assert [recorded.count(ring, NOW) for ring in RINGS] == [2, 0, 0]
    recorded.recorder.record(NOW + 70, [MINUTES])
    assert [recorded.count(ring, NOW + 70) for ring in RINGS] == [2, 2, 0]
    recorded.recorder.record(NOW + 601, [MINUTES])
    assert [recorded.count(ring, NOW + 601) for ring in RINGS] == [0, 2, 2]


def test_a_restart_goes_on_in_the_same_slot(recorded: Recorded) -> None:
    recorded.record(NOW, 0.1, 0.2)
    os.close(recorded.recorder.descriptor or -1)
    recorded.restart()
    recorded.record(NOW + 3, 0.3)
    assert [recorded.count(ring, NOW + 3) for ring in RINGS] == [3, 3, 3]


def test_addresses_are_recorded_beside_routes(recorded: Recorded) -> None:
    series = UpstreamSeries("orders", "127.0.0.1:8003", "seconds")
    recorded.upstreams.add(series, [0.2])
    recorded.record(NOW, 0.3)
    found = total(History(recorded.path).slots(MINUTES, NOW))
    assert found.keys() == {ONE, series}
    assert found[series].percentile(0.99) == pytest.approx(0.2, rel=0.1)


def test_the_file_has_a_bound_whatever_is_recorded(recorded: Recorded) -> None:
    for second in range(0, 90_000, 1500):
        for number in range(100):
            recorded.requests.add(Series("GET", f"/{number}", 200), [0.001 * number, 0.1, second / 1000])
        recorded.recorder.record(NOW + second)
    assert recorded.path.stat().st_size <= history.SIZE
    assert recorded.path.stat().st_mode & 0o777 == 0o600


def test_series_without_room_are_those_with_the_fewest_requests(recorded: Recorded, monkeypatch: Any) -> None:
    monkeypatch.setattr(history, "PLACE", 1024)
    for number in range(200):
        recorded.requests.add(Series("GET", f"/{number * 7919}", 200), [0.001 * number] * (number + 1))
    recorded.recorder.record(NOW)
    (slot,) = [slot for slot in History(recorded.path).slots(MINUTES, NOW) if slot.times]
    counts = sorted(times.count for times in slot.times.values())
    assert 5 < len(counts) < 200
    assert counts == list(range(201 - len(counts), 201))


def test_a_slot_that_is_being_written_is_left_out(recorded: Recorded) -> None:
    recorded.record(NOW, 0.1)
    with recorded.path.open("r+b") as file:
        file.seek(history.offset(HOUR, int(NOW) // 60 * 60) + history.HEAD.size)
        file.write(b"\0\0\0\0")
    assert [recorded.count(ring, NOW) for ring in (MINUTES, HOUR, DAY)] == [1, 0, 1]


def test_a_disk_that_is_full_is_logged_once_and_nothing_is_lost_after_it(recorded: Recorded, caplog: Any) -> None:
    folder = recorded.path.parent / "gone"
    recorded.recorder.path = folder / "history"
    recorded.requests.add(ONE, [0.1])
    for second in range(3):
        recorded.recorder.save(NOW + second)
    assert len(caplog.records) == 1
    folder.mkdir()
    recorded.recorder.save(NOW + 4)
    assert total(History(folder / "history").slots(MINUTES, NOW + 4))[ONE].count == 1


def test_one_master_writes_the_file(recorded: Recorded) -> None:
    recorded.record(NOW, 0.1)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        second = Recorder(recorded.path, recorded.requests, recorded.upstreams)
        try:
            second.record(NOW)
        except OSError:
            os.write(write, b"taken")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"taken"
    assert recorded.count(MINUTES, NOW) == 1


class Load:
    """A load program: threads that send requests, and what they got."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: Counter[int] = Counter()
        self.stopped = threading.Event()
        self.lock = threading.Lock()

    def run(self) -> None:
        number = 0
        while not self.stopped.wait(0.015):
            number += 1
            path = "/broken" if number % 10 == 0 else "/fine"
            try:
                with urllib.request.urlopen(self.url + path, timeout=30) as response:
                    status = response.status
            except urllib.error.HTTPError as exc:
                status = exc.code
            except OSError:
                # It was sent to the worker that was killed, or refused while there was none.
                continue
            with self.lock:
                self.statuses[status] += 1

    @contextmanager
    def running(self, threads: int = 2) -> Iterator[None]:
        started = [threading.Thread(target=self.run) for _ in range(threads)]
        for thread in started:
            thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            for thread in started:
                thread.join()


def respond(seen: Seen) -> Reply:
    return Reply(status=500 if seen.target == "/broken" else 200)


def recorded_statuses(path: Path, ring: history.Ring) -> Counter[int]:
    found: Counter[int] = Counter()
    for series, times in total(History(path).slots(ring)).items():
        if isinstance(series, Series) and series.route in {"/fine", "/broken"}:
            found[series.status] += times.count
    return found


def test_the_history_equals_a_load_program_s_counts_through_a_killed_worker_a_reload_and_a_restart(
    tmp_path: Path,
) -> None:
    service = Service(respond)
    config = {
        "services": {"things": {"url": service.url}},
        "routes": [
            {"path": path, "methods": ["GET"], "service": "things", "allow": "public"} for path in ("/fine", "/broken")
        ],
    }
    gateway = Gateway("fast", tmp_path / "var", config, workers=2, measured=False)
    load = Load(gateway.url)
    path = gateway.var / "gateway" / "history"

    def requests(number: int) -> None:
        """Wait for so many more requests."""
        until = load.statuses.total() + number
        wait_until(lambda: load.statuses.total() >= until, f"{until} requests")

    def is_recorded(ring: history.Ring) -> bool:
        found, sent = recorded_statuses(path, ring), load.statuses
        errors = found[500] / found.total() if found else 0.0
        return abs(found.total() / sent.total() - 1) < 0.01 and abs(errors - sent[500] / sent.total()) < 0.01

    with load.running():
        with gateway:
            requests(150)
            killed = gateway.worker_pids()[0]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: len(set(gateway.worker_pids()) - {killed}) == 2, "another worker")
            requests(300)
            before = set(gateway.worker_pids())
            gateway.reload()
            wait_until(lambda: not before & set(gateway.worker_pids()), "new workers alone")
            requests(300)
        gateway.workers = 1
        with gateway:
            requests(150)
            load.stopped.set()
            for ring in RINGS:
                wait_until(lambda ring=ring: is_recorded(ring), f"{load.statuses}, recorded within 1 %", within=20)
    assert path.stat().st_size <= history.SIZE
    service.stop()
