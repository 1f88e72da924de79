"""Counting and timing: at once, or a turn's requests together."""

import asyncio

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
