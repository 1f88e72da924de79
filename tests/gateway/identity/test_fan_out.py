"""How the end of a session reaches a hundred and a thousand gateways, by the simulation of `tests.fleet`."""

from pathlib import Path

import pytest
from tests import fleet

from gateway.identity import revocations

ROOT = Path(__file__).resolve().parents[3]
# Seconds within which every worker rejects the token of an ended session.
PROMISED = 2.0


def test_the_simulation_has_the_gateway_s_own_intervals() -> None:
    assert (fleet.INTERVAL, fleet.TURN) == (revocations.INTERVAL, revocations.TURN)


@pytest.mark.parametrize("gateways", [1, 10, 100])
def test_all_workers_reject_an_ended_session_in_time_and_the_login_service_is_asked_twice_a_second(
    gateways: int,
) -> None:
    running, delays = fleet.simulate(gateways, 4, turns=True)
    assert max(delays) < PROMISED
    assert running.asked / fleet.SECONDS <= 1 / revocations.TURN


def test_without_turns_the_requests_to_the_login_service_grow_with_the_workers() -> None:
    few, many = (fleet.simulate(gateways, 4, turns=False)[0].asked for gateways in (10, 100))
    assert 9 < many / few < 11


def test_the_document_has_the_results() -> None:
    assert fleet.table() in (ROOT / "docs" / "scaling.md").read_text()
