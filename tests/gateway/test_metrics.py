"""Counting and timing: at once, or a turn's requests together."""

import asyncio
import os
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from tests.gateway.upstreams.origin import on_a_loop, until

from gateway import metrics

TIMES = [0.0, 0.004, 0.005, 0.3, 2.0, 1000.0]


def samples(route: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return everything that is known of the route, but for when it was first heard of."""
    return {
        (
            sample.name,
            tuple(sorted((name, value) for name, value in sample.labels.items() if name != "route")),
        ): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("route") == route and not sample.name.endswith("_created")
    }


@on_a_loop
async def test_what_is_tallied_is_what_would_have_been_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "INTERVAL", 0.01)
    tally = metrics.Tally(asyncio.get_running_loop())
    requests = [("GET", 200), ("GET", 200), ("POST", 201), ("BREW", 405), ("MASH", 405), ("GET", 200)]
    for (method, status), seconds in zip(requests, TIMES, strict=True):
        tally.count(method, "/tallied", status, seconds)
        metrics.observe(method, "/observed", status, seconds)
    assert samples("/tallied") == {}
    await until(lambda: samples("/tallied"))
    assert samples("/tallied") == pytest.approx(samples("/observed"))
    assert samples("/tallied")["gateway_requests_total", (("method", "other"), ("status", "405"))] == 2
    # And so on.
    tally.count("GET", "/tallied", 200, 0.1)
    metrics.observe("GET", "/observed", 200, 0.1)
    await until(lambda: samples("/tallied")["gateway_request_seconds_count", ()] == 7)
    assert samples("/tallied") == pytest.approx(samples("/observed"))


@on_a_loop
async def test_what_is_handed_on_at_the_end_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "INTERVAL", 0.01)
    tally = metrics.Tally(asyncio.get_running_loop())
    tally.count("GET", "/at-the-end", 200, 0.1)
    for _ in range(2):
        tally.hand_on()
    await asyncio.sleep(0.02)
    assert samples("/at-the-end")["gateway_requests_total", (("method", "GET"), ("status", "200"))] == 1


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk on which there is room for so many bytes in each file."""
    room = [0]

    def fallocate(descriptor: int, offset: int, size: int) -> None:
        if size > room[0]:
            raise OSError(28, "No space left on device")
        allocate(descriptor, offset, size)

    allocate = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    return room


def test_a_file_of_values_has_its_blocks_before_it_is_written_to(tmp_path: Path, full: list[int]) -> None:
    path = tmp_path / "counter_1.db"
    with pytest.raises(OSError, match="No space"):
        metrics.Allocated(str(path))
    assert not path.exists(), "an empty one could not be read"
    full[0] = 2**17
    held = metrics.Allocated(str(path))
    written = 0

    def write_on() -> None:
        nonlocal written
        while True:
            held.write_value(f"{written:0100}", float(written), 0.0)
            assert path.stat().st_blocks * 512 >= path.stat().st_size
            written += 1

    with pytest.raises(OSError, match="No space"):
        write_on()
    held.close()
    values = {key: value for key, value, *_ in metrics.Allocated.read_all_values_from_file(str(path))}
    assert values == {f"{number:0100}": float(number) for number in range(written)}
    assert written > 1000


@on_a_loop
async def test_what_there_is_no_room_to_count_keeps_nobody_from_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "INTERVAL", 0.01)
    tried = []

    def series(method: str, route: str, status: int) -> None:
        tried.append(route)
        raise OSError(28, "No space left on device")

    known = metrics.series
    monkeypatch.setattr(metrics, "series", lambda *key: (series if "no-room" in key[1] else known)(*key))
    metrics.observe("GET", "/no-room", 200, 0.1)
    tally = metrics.Tally(asyncio.get_running_loop())
    tally.count("GET", "/no-room/either", 200, 0.1)
    tally.count("GET", "/room", 200, 0.1)
    await until(lambda: samples("/room"))
    assert tried == ["/no-room", "/no-room/either"]
