"""A failing service does not affect the probes, the API's document and other requests, at both doors."""

import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from tests.conformance.cases.case import ask
from tests.conformance.client import once
from tests.conformance.gateways import DOORS, Door, Gateway, free_port
from tests.conformance.upstream import Answer, Upstream
from tests.waiting import wait_until

# Seconds: what a service that hangs may cost, and what a busy machine adds to it. Without a bound it would cost 10.
BOUND = 1.0
SLACK = 6.0
# More than Django has threads.
MANY = 40
DOCUMENT = {
    "openapi": "3.0.3",
    "info": {"title": "Echo", "version": "1"},
    "paths": {"/api/open": {"get": {"summary": "It echoes", "responses": {"200": {"description": "ok"}}}}},
}
Fleet = dict[Door, Gateway]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A gateway of each door, in front of a healthy service and of one that accepts connections and hangs."""
    body = json.dumps(DOCUMENT).encode()
    answer = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    with Upstream() as echo, socket.create_server(("127.0.0.1", 0), backlog=1024) as hanging, ExitStack() as running:
        echo.begin((answer,) * 1000)
        config = {
            "services": {
                "echo": {"url": echo.url, "health": "/health", "openapi": "/openapi.json"},
                "hanging": {
                    "url": f"http://127.0.0.1:{hanging.getsockname()[1]}",
                    "health": "/health",
                    "openapi": "/openapi.json",
                },
                "refusing": {"url": f"http://127.0.0.1:{free_port()}", "eject": {"most": "0%"}},
            },
            "routes": [
                {"path": "/api/refusing", "service": "refusing", "allow": "public"},
                {"path": "/api/mine", "service": "echo", "allow": "authenticated"},
                {"path": "/api/open", "service": "echo", "allow": "public", "methods": ["GET"]},
                {"path": "/api/hanging", "service": "hanging", "allow": "public"},
            ],
        }
        yield {
            door: running.enter_context(Gateway(door, tmp_path_factory.mktemp(door) / "var", config)) for door in DOORS
        }


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", ["/readyz", "/openapi.json"])
def test_a_hanging_service_delays_a_probe_by_a_second_at_most(door: Door, path: str, fleet: Fleet) -> None:
    for _ in range(3):
        began = time.monotonic()
        reply = once(fleet[door].port, ask(f"GET {path}"))
        assert time.monotonic() - began < BOUND + SLACK
        assert reply.status == 200
        assert reply.get("X-Request-ID")
        assert reply.get("Content-Type") == "application/json"
        assert reply.get("X-Content-Type-Options") == "nosniff"
        said = reply.json()
        if path == "/readyz":
            assert said["services"] == {"echo": "ok", "hanging": "did not respond in time", "refusing": "unknown"}
        else:
            assert said["paths"]["/api/open"]["get"]["summary"] == "It echoes"


@pytest.mark.parametrize("target", ["/readyz", "/%72eadyz", "/openapi.json"])
def test_clients_that_leave_a_hanging_service_delay_no_other_request(target: str, fleet: Fleet) -> None:
    gateway = fleet["fast"]
    ended = threading.Event()

    def ask_and_leave() -> None:
        while not ended.is_set():
            leavers = []
            for _ in range(MANY):
                leaver = socket.create_connection(("127.0.0.1", gateway.port))
                leaver.sendall(ask(f"GET {target}"))
                leavers.append(leaver)
            ended.wait(0.2)
            for leaver in leavers:
                leaver.close()

    leaving = threading.Thread(target=ask_and_leave)
    leaving.start()
    try:
        times = []
        for _ in range(5):
            began = time.monotonic()
            # Django serves the sign-in page.
            reply = once(gateway.port, ask("GET /login/", "Accept: text/html"))
            assert reply.status == 200
            times.append(time.monotonic() - began)
            with suppress(ConnectionError):
                once(gateway.port, ask("GET /api/open"))
        assert statistics.median(times) < SLACK - 2, times
    finally:
        ended.set()
        leaving.join()


@pytest.mark.parametrize("door", DOORS)
def test_head_of_a_probe_has_its_headers_and_no_content(door: Door, fleet: Fleet) -> None:
    got, head = (once(fleet[door].port, ask(f"{method} /readyz")) for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert got.get("Content-Length") == head.get("Content-Length") == str(len(got.body))
    assert {name.lower() for name, _ in got.headers} == {name.lower() for name, _ in head.headers}


def logged(gateway: Gateway, request_id: str | None, logger: str) -> dict[str, Any]:
    """Return the log line of a request, once it is there."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in gateway.log_lines() if (line["request_id"], line["logger"]) == (request_id, logger)]

    (line,) = wait_until(lines, f"the line of {request_id} in the log")
    return line


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("path", "status", "service"),
    [
        ("/api/open", 200, "echo"),
        ("/api/refusing", 502, "refusing"),
        ("/api/mine", 401, "echo"),
        ("/nothing", 404, None),
    ],
)
def test_the_access_log_names_client_service_and_address(
    door: Door, path: str, status: int, service: str | None, fleet: Fleet
) -> None:
    gateway = fleet[door]
    reply = once(gateway.port, ask(f"GET {path}"))
    assert reply.status == status
    line = logged(gateway, reply.get("X-Request-ID"), "access")
    assert (line["client"], line["service"], line["status"]) == ("127.0.0.1", service, status)
    if status in {200, 502}:
        assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", line["address"])
    else:
        assert line["address"] is None


@pytest.mark.parametrize("door", DOORS)
def test_the_reason_for_an_unreachable_service_is_logged_once_a_minute(door: Door, fleet: Fleet) -> None:
    gateway = fleet[door]
    # Fewer than eject it.
    for _ in range(3):
        reply = once(gateway.port, ask("GET /api/refusing"))
        assert reply.json()["detail"] == "The refusing service cannot be reached. Try again later."
    address = logged(gateway, reply.get("X-Request-ID"), "access")["address"]
    lines = [line for line in gateway.log_lines() if line["logger"] == "gateway.upstreams.errors"]
    # A line without an address is about the budget for retries.
    (line,) = [line for line in lines if line["service"] == "refusing" and line["address"]]
    assert line["message"] == f"The refusing service at {address} cannot be reached: connection refused"
