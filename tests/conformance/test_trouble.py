"""One service's trouble stays its own: the probes, the API's document and everyone else's requests, at both doors."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from tests.conformance.cases import ask
from tests.conformance.client import once
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.upstream import Answer, Upstream

# Seconds: what a service that hangs may cost, and what a busy machine adds.
BOUND = 1.0
SLACK = 2.5
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
    """A gateway of each door, in front of a service that is well and of one that takes connections and hangs."""
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
            },
            "routes": [
                {"path": "/api/open", "service": "echo", "allow": "public", "methods": ["GET"]},
                {"path": "/api/hanging", "service": "hanging", "allow": "public"},
            ],
        }
        yield {
            door: running.enter_context(Gateway(door, tmp_path_factory.mktemp(door) / "var", config)) for door in DOORS
        }


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", ["/readyz", "/openapi.json"])
def test_a_service_that_hangs_costs_an_answer_a_second_and_no_more(door: Door, path: str, fleet: Fleet) -> None:
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
            assert said["services"] == {"echo": "ok", "hanging": "did not answer in time"}
        else:
            assert said["paths"]["/api/open"]["get"]["summary"] == "It echoes"


@pytest.mark.parametrize("target", ["/readyz", "/%72eadyz", "/openapi.json"])
def test_clients_that_ask_of_a_service_that_hangs_and_leave_hold_up_nobody(target: str, fleet: Fleet) -> None:
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
        for _ in range(5):
            began = time.monotonic()
            # The sign-in page is Django's.
            reply = once(gateway.port, ask("GET /login/", "Accept: text/html"))
            assert reply.status == 200
            assert time.monotonic() - began < SLACK
            with suppress(ConnectionError):
                once(gateway.port, ask("GET /api/open"))
    finally:
        ended.set()
        leaving.join()


@pytest.mark.parametrize("door", DOORS)
def test_head_of_a_probe_has_its_headers_and_no_content(door: Door, fleet: Fleet) -> None:
    got, head = (once(fleet[door].port, ask(f"{method} /readyz")) for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert got.get("Content-Length") == head.get("Content-Length") == str(len(got.body))
    assert {name.lower() for name, _ in got.headers} == {name.lower() for name, _ in head.headers}
