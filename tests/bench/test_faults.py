"""The report of the faults, from requests whose figures are known, and the load that it is made of."""

import asyncio
import itertools
import time
from dataclasses import replace

import pytest
from tests.bench import faults
from tests.bench.faults import ENVOY, FAULTS, OURS, RATE, Address, Client, Request, Run

KILLED, DEAD, _, OUTAGE = FAULTS


def run(*, forgotten: float = 1.0, slow: float = 0.02, failed: int = 0, fault: faults.Fault = KILLED) -> Run:
    """Return a run of 4 s before a fault of 8 s: 1 ms before it, `slow` in it, and `failed` requests after it."""
    begin, end = 104.0, 112.0
    requests = [Request(100.0 + number / 10, 0.001, 200, "1") for number in range(40)]
    requests += [Request(begin + number / 10, slow, 200 if number else 503, "1") for number in range(80)]
    requests += [Request(end + number / 100, 0.001, 502) for number in range(failed)]
    requests.append(Request(end + forgotten - 0.001, 0.001, 200, "0"))
    return Run(fault, requests, begin, end)


def test_a_run_has_its_failures_its_p99_and_when_the_fault_was_forgotten() -> None:
    figures = faults.figures([run(), run(forgotten=3.0, failed=2), run(forgotten=2.0)])
    assert figures == pytest.approx({"failed": 5, "before": 1.0, "p99": 20.0, "forgotten": 2.0})


def test_failures_of_an_outage_are_those_after_it() -> None:
    assert run(fault=OUTAGE, failed=2).failed == 2
    assert run(fault=OUTAGE).failed == 0


def test_a_fault_that_is_never_forgotten_is_infinitely_long() -> None:
    never = run()
    never.requests.pop()
    assert faults.figures([never])["forgotten"] == float("inf")
    assert faults.figures([replace(never, fault=DEAD)]).keys() == {"failed", "before", "p99"}


@pytest.mark.parametrize(
    ("ours", "figure"),
    [
        (run(), ""),
        # Within what two figures may differ by.
        (run(slow=0.030, forgotten=1.4), ""),
        (run(failed=1), "failed"),
        (run(slow=0.04), "p99"),
        (run(forgotten=2.0), "forgotten"),
    ],
)
def test_the_report_names_where_this_gateway_is_worse(ours: Run, figure: str) -> None:
    found = {fault.name: {OURS: [run(fault=fault)], ENVOY: [run(fault=fault)]} for fault in FAULTS}
    found[KILLED.name][OURS] = [ours]
    text = faults.text(found)
    assert text.count("\n| ") == 2 * len(FAULTS)
    if figure:
        assert f"Gatehouse is worse than Envoy in: {KILLED.title} ({figure})." in text
    else:
        assert "Gatehouse is worse in no row." in text


def test_the_load_counts_from_when_a_request_was_due_and_keeps_who_responded() -> None:
    address = Address(3)
    found = Run(KILLED)

    async def load() -> None:
        await address.ready()
        end = time.monotonic() + 1
        await Client(address.port, found).load(lambda: time.monotonic() > end)
        address.close()
        # It refuses connections, and that is a failure.
        end = time.monotonic() + 0.1
        await Client(address.port, found).load(lambda: time.monotonic() > end)

    try:
        asyncio.run(load())
    finally:
        address.close()
    good = [each for each in found.requests if each.status == 200]
    assert {each.body for each in good} == {"3"}
    dues = sorted(each.due for each in good)
    assert {round((later - due) * RATE, 3) for due, later in itertools.pairwise(dues)} == {1.0}
    assert {each.status for each in found.requests} == {200, 0}
