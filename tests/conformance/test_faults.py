"""Each fault of a service, at both doors: one outcome, and a gateway that serves the next request."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conformance import faults
from tests.conformance.cases.case import ask
from tests.conformance.client import Client, ConnectionBroken, Reply, once
from tests.conformance.conftest import Fleet
from tests.conformance.faults import FAULTS, OK_BODY, TOTAL, Fault, FaultyService, Outcome
from tests.conformance.gateways import DOORS, Door, Gateway

# Seconds that a busy machine may take longer than a deadline: less than the service goes on, and than other deadlines.
SLACK = 12


def is_problem(reply: Reply, status: int, service: str) -> None:
    """Assert that it is the gateway's problem, about that service."""
    assert reply.status == status, reply.body[:500]
    assert reply.get("Content-Type") == "application/problem+json"
    said = reply.json()
    assert (said["status"], said["origin"], said["service"]) == (status, "gateway", service)
    assert said["request_id"] == reply.get("X-Request-ID")


def is_healthy(gateway: Gateway, faulty: FaultyService) -> int:
    """Assert that the gateway and the service's healthy route are; return the connection to it."""
    reply = once(gateway.port, ask("GET /faults/healthy"))
    assert (reply.status, reply.body) == (200, OK_BODY)
    method, slug, connection = faulty.seen[-1]
    assert (method, slug) == ("GET", "healthy")
    return connection


def meet(client: Client, fault: Fault, faulty: FaultyService) -> Reply | None:
    """Return the response to the fault; `None` if it was truncated after its headers."""
    reply = client.head()
    faulty.head_arrived.set()
    try:
        return client.body_of(reply, fault.method)
    except ConnectionBroken:
        assert client.ended, "nothing came for too long"
        assert reply.status == 200
        return None


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_one_outcome_at_each_door(fault: Fault, door: Door, fleet: Fleet, faulty: FaultyService) -> None:
    gateway = fleet[door, False]
    is_healthy(gateway, faulty)
    faulty.begin()
    request = ask(f"{fault.method} {fault.target}", body=fault.body or None)
    started = time.monotonic()
    with Client(gateway.port) as client:
        # In a thread: the gateway may respond before it has read all of a body.
        sending = threading.Thread(target=client.send, args=(request,))
        sending.start()
        reply = meet(client, fault, faulty)
        took = time.monotonic() - started
        sending.join(faults.PATIENCE)
        if reply is not None and not reply.closes:
            client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.reply().status == 200, "the client's connection is out of step"
        assert client.ends(), "the connection should have ended, with nothing more to say"
    if fault.outcome is Outcome.BAD_GATEWAY:
        assert reply is not None
        is_problem(reply, 502, "faulty")
    elif fault.outcome is Outcome.LATE:
        assert reply is not None
        is_problem(reply, 504, "faulty")
        assert TOTAL - 0.05 <= took <= TOTAL + SLACK
    elif fault.outcome is Outcome.BROKEN:
        assert reply is None, "a whole answer"
    elif fault.outcome is Outcome.ANSWER:
        assert reply is not None, "broken off"
        assert (reply.status, reply.body) == (fault.status, fault.answer)
    elif reply is not None:
        is_problem(reply, 502, "faulty")
    if fault.target.startswith("/late/"):
        assert took <= TOTAL + SLACK
    met = [connection for _, slug, connection in faulty.seen if slug == fault.slug]
    assert 1 <= len(met) <= (1 if fault.method == "POST" else 2)
    after = is_healthy(gateway, faulty)
    if door == "fast" and not fault.is_sound:
        assert after not in met, "a doubtful connection was used again"
        assert not faulty.trusted_again, "a doubtful connection was used again"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("service", ["refusing", "slamming", "resetting"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_service_that_accepts_no_request_is_a_502(
    method: str, service: str, door: Door, fleet: Fleet, faulty: FaultyService
) -> None:
    gateway = fleet[door, False]
    reply = once(gateway.port, ask(f"{method} /{service}", body=b"x" * 1000 if method == "POST" else None))
    is_problem(reply, 502, service)
    is_healthy(gateway, faulty)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
def test_a_connection_closed_after_a_response_fails_no_request(
    method: str, door: Door, fleet: Fleet, faulty: FaultyService
) -> None:
    gateway = fleet[door, False]
    assert once(gateway.port, ask("GET /faults/closes-after-the-answer")).status == 200
    faulty.wait_until_closed(faulty.seen[-1][2])
    # Time for the gateway to notice what happened between the requests.
    assert once(gateway.port, ask("GET /healthz")).status == 200
    faulty.begin()
    reply = once(gateway.port, ask(f"{method} /faults/healthy", body=b"abc" if method in {"PUT", "POST"} else None))
    assert reply.status == 200
    assert [seen[:2] for seen in faulty.seen] == [(method, "healthy")]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("method", "status", "times"),
    [("GET", 200, 2), ("HEAD", 200, 2), ("PUT", 200, 2), ("DELETE", 200, 2), ("POST", 502, 1)],
)
def test_a_request_on_a_closing_connection_is_retried_only_if_it_is_idempotent(
    method: str, status: int, times: int, door: Door, fleet: Fleet, faulty: FaultyService
) -> None:
    gateway = fleet[door, False]
    leave_open(gateway, faulty, 1)
    faulty.begin()
    reply = once(gateway.port, ask(f"{method} /faults/stale", body=b"abc" if method in {"PUT", "POST"} else None))
    assert reply.status == status
    assert [seen[:2] for seen in faulty.seen] == [(method, "stale")] * times
    is_healthy(gateway, faulty)


@pytest.mark.parametrize("door", DOORS)
def test_a_retry_uses_a_new_connection(door: Door, fleet: Fleet, faulty: FaultyService) -> None:
    gateway = fleet[door, False]
    leave_open(gateway, faulty, 4)
    faulty.begin()
    assert once(gateway.port, ask("GET /faults/stale")).status == 200
    assert len(faulty.seen) == 2


def leave_open(gateway: Gateway, faulty: FaultyService, connections: int) -> None:
    """Leave the gateway with at least that many idle connections to the service."""
    faulty.meeting = threading.Barrier(connections)
    with ThreadPoolExecutor(connections) as together:
        asked = [together.submit(once, gateway.port, ask("GET /faults/together")) for _ in range(connections)]
        assert [future.result().status for future in asked] == [200] * connections
