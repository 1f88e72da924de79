"""Metrics: requests counted at once, or together ten times a second, in memory that all workers share."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.conformance.gateways import PROJECT
from tests.gateway.upstreams.origin import on_a_loop, until

from gateway import metrics
from gateway.metrics import BUCKETS, Series, SharedMemory
from gateway.portal.prometheus import REGISTRY

TIMES = [0.0, 0.004, 0.005, 0.3, 2.0, 1000.0]
ROUTE_LABELS = ("route", "http_route")
ONE = Series("GET", "/one", 200)


def samples(route: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return everything that /metrics has of the route."""
    return {
        (
            sample.name,
            tuple(sorted((name, value) for name, value in sample.labels.items() if name not in ROUTE_LABELS)),
        ): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if route in map(sample.labels.get, ROUTE_LABELS)
    }


def labelled(method: str, status: int) -> tuple[tuple[str, str], ...]:
    return (("http_request_method", method), ("http_response_status_code", str(status)))


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
    assert samples("/tallied")["gateway_requests_total", (("method", "_OTHER"), ("status", "405"))] == 2
    tally.count("GET", "/tallied", 200, 0.1)
    metrics.observe("GET", "/observed", 200, 0.1)
    await until(lambda: samples("/tallied")["http_server_request_duration_seconds_count", labelled("GET", 200)] == 4)
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


def test_a_time_is_in_each_bucket_that_is_not_below_it() -> None:
    for seconds in TIMES:
        metrics.observe("GET", "/timed", 200, seconds)
    found = samples("/timed")
    counted = {dict(labels)["le"]: value for (name, labels), value in found.items() if name.endswith("_bucket")}
    assert counted == {
        ("+Inf" if bound == BUCKETS[-1] else str(bound)): sum(seconds <= bound for seconds in TIMES)
        for bound in BUCKETS
    }
    assert found["http_server_request_duration_seconds_sum", labelled("GET", 200)] == pytest.approx(sum(TIMES))
    assert found["http_server_request_duration_seconds_count", labelled("GET", 200)] == len(TIMES)


def test_a_request_without_a_route_has_none_in_opentelemetrys_labels() -> None:
    def count(name: str, labels: dict[str, str]) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0

    own = {"method": "_OTHER", "route": "none", "status": "404"}
    opentelemetrys = {"http_request_method": "_OTHER", "http_route": "", "http_response_status_code": "404"}
    before = count("gateway_requests_total", own), count("http_server_request_duration_seconds_count", opentelemetrys)
    metrics.observe("BREW", "none", 404, 0.1)
    after = count("gateway_requests_total", own), count("http_server_request_duration_seconds_count", opentelemetrys)
    assert after == (before[0] + 1, before[1] + 1)


def test_the_buckets_are_opentelemetrys() -> None:
    # Semantic conventions, http.server.request.duration.
    assert BUCKETS[:-1] == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


def test_a_series_without_room_is_left_out_and_the_others_go_on() -> None:
    memory = SharedMemory(blocks=1, block_size=4096)
    for number in range(100):
        memory.add(Series("GET", f"/{number}", 200), [0.1])
    found = memory.read()
    assert 10 < len(found) < 100
    assert [series.route for series in found] == [f"/{number}" for number in range(len(found))]
    memory.add(Series("GET", "/0", 200), [0.1])
    assert sum(memory.read()[Series("GET", "/0", 200)][:-1]) == 2


@contextmanager
def counting(memory: SharedMemory, route: str = "/one", blocks: int = 2) -> Iterator[subprocess.Popen[str]]:
    """Another process that counts a request in the same memory, and then waits."""
    script = (
        "import sys; from gateway.metrics import SharedMemory, Series;"
        f"memory = SharedMemory({memory.descriptor}, {blocks}, 4096); memory.add(Series('GET', {route!r}, 200), [0.1]);"
        "print('counted', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=PROJECT, text=True, pass_fds=[memory.descriptor],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "counted\n"
        try:
            yield process
        finally:
            process.kill()


def requests_of(memory: SharedMemory, series: Series = ONE) -> float:
    return sum(memory.read().get(series, [0, 0])[:-1])


def test_the_block_of_a_process_that_was_killed_keeps_its_counts_and_is_used_again() -> None:
    memory = SharedMemory(blocks=2, block_size=4096)
    with counting(memory), counting(memory) as second:
        assert requests_of(memory) == 2
        second.send_signal(signal.SIGKILL)
        second.wait()
        # Both blocks are taken again; a process without one counts nothing.
        with counting(memory), counting(memory):
            assert requests_of(memory) == 3
            assert [len(list(memory.records(block))) for block in range(2)] == [1, 1]


def test_values_beyond_the_end_of_a_block_are_not_counted() -> None:
    memory = SharedMemory(blocks=1, block_size=4096)
    memory.add(ONE, [0.1])
    end = int(memory.numbers[0])
    for number in range(end, len(memory.numbers)):
        memory.numbers[number] = 7.0
    memory.add(Series("GET", "/two", 200), [0.1])
    assert memory.read() == {ONE: memory.read()[ONE], Series("GET", "/two", 200): memory.read()[ONE]}


def test_a_fork_counts_in_a_block_of_its_own() -> None:
    memory = SharedMemory(blocks=2, block_size=4096)
    memory.add(ONE, [0.1])
    if (child := os.fork()) == 0:
        memory.add(ONE, [0.1])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    memory.add(ONE, [0.1])
    assert requests_of(memory) == 3
    assert [len(list(memory.records(block))) for block in range(2)] == [1, 1]
