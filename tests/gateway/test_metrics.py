"""Metrics: requests counted at once, or together twice a second."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from tests.gateway.disks import fill
from tests.gateway.upstreams.origin import on_a_loop, until

from gateway import metrics

TIMES = [0.0, 0.004, 0.005, 0.3, 2.0, 1000.0]


def samples(route: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return all samples of the route but the time of its first."""
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
async def test_requests_counted_together_give_the_same_metrics_as_one_by_one() -> None:
    tally = metrics.Tally(asyncio.get_running_loop())
    requests = [("GET", 200), ("GET", 200), ("POST", 201), ("BREW", 405), ("MASH", 405), ("GET", 200)]
    for (method, status), seconds in zip(requests, TIMES, strict=True):
        tally.count(method, "/tallied", status, seconds)
        metrics.observe(method, "/observed", status, seconds)
    assert samples("/tallied") == {}
    await until(lambda: samples("/tallied"))
    assert samples("/tallied") == pytest.approx(samples("/observed"))
    assert samples("/tallied")["gateway_requests_total", (("method", "other"), ("status", "405"))] == 2
    tally.count("GET", "/tallied", 200, 0.1)
    metrics.observe("GET", "/observed", 200, 0.1)
    await until(lambda: samples("/tallied")["gateway_request_seconds_count", ()] == 7)
    assert samples("/tallied") == pytest.approx(samples("/observed"))


@on_a_loop
async def test_requests_that_are_handed_on_early_are_counted_once() -> None:
    tally = metrics.Tally(asyncio.get_running_loop())
    tally.count("GET", "/at-the-end", 200, 0.1)
    for _ in range(2):
        tally.hand_on()
    tally.count("GET", "/later", 200, 0.1)
    await until(lambda: samples("/later"))
    assert samples("/at-the-end")["gateway_requests_total", (("method", "GET"), ("status", "200"))] == 1


def test_a_file_of_values_keeps_what_it_has_room_for_on_a_full_disk(disk: Path) -> None:
    path, ballast = disk / "counter_1.db", disk / "ballast"
    fill(ballast)
    with pytest.raises(OSError, match="No space"):
        metrics.Allocated(str(path))
    assert not path.exists(), "an empty one could not be read"
    fill(ballast, free=2**18)
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
