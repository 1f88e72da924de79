"""Services with addresses that fail for real, at both doors: what clients get, and what is seen of it."""

import itertools
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from tests.conformance.cases.case import ask
from tests.conformance.client import Client, Reply, once
from tests.conformance.gateways import DOORS, PROJECT, Door, Gateway
from tests.ports import free_port, swallowing_port
from tests.waiting import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
# Seconds for a connection: more than a busy machine is late, so that a request that waited for one stands out.
CONNECT = 2.0


class Address(socketserver.ThreadingTCPServer):
    """An address of a service that treats each request in one way."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, response: bytes | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # Empty: the connection is closed; none: the client waits.
        self.response = response
        self.requests = 0
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()


class Handler(socketserver.StreamRequestHandler):
    server: Address

    def handle(self) -> None:
        while self.rfile.readline():
            length = 0
            while line := self.rfile.readline().strip().lower():
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            self.rfile.read(length)
            self.server.requests += 1
            if self.server.response is None:
                self.server.ended.wait()
            if not self.server.response:
                return
            self.wfile.write(self.server.response)


@contextmanager
def swallowing() -> Iterator[str]:
    """An address whose queue of connections is full: the system drops the SYNs of others."""
    with swallowing_port() as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def refusing() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@contextmanager
def responding(response: bytes | None) -> Iterator[str]:
    with Address(response) as address:
        yield address.url


# A service's fault, by the name in docs/operations.md, and what a POST gets before its address is ejected.
FAULTS: dict[str, tuple[Any, int, str]] = {
    "refuses connections": (refusing, 502, "upstream_unreachable"),
    "drops SYNs": (swallowing, 504, "upstream_timeout"),
    "closes the connection": (lambda: responding(b""), 502, "upstream_disconnected"),
    "sends garbage": (lambda: responding(b"hello\r\n\r\n"), 502, "upstream_malformed"),
    "hangs": (lambda: responding(None), 504, "upstream_timeout"),
    "responds with 500": (lambda: responding(FAILED), 500, ""),
}
# Nothing was sent: another address is tried at once.
CONNECT_FAULTS = {"refuses connections", "drops SYNs"}


def slug(fault: str) -> str:
    return fault.lower().replace(" ", "-")


def config(services: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    routes = [{"path": f"/{name}", "service": name, "allow": "public"} for name in services]
    return {"services": services, "routes": routes, "defaults": defaults}


@pytest.fixture(scope="module", params=DOORS)
def faulty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with two services for each fault: its only address has it, or one of two."""
    door: Door = request.param
    with ExitStack() as running:
        services: dict[str, Any] = {}
        for fault, (start, _, _) in FAULTS.items():
            good = running.enter_context(responding(OK))
            services[f"only-{slug(fault)}"] = {"url": running.enter_context(start())}
            services[f"pair-{slug(fault)}"] = {"url": [running.enter_context(start()), good]}
        eject = {"failures": 3, "rest": "5m", "on": ["connect", "reset", "timeout", "5xx"]}
        timeouts = {"connect": "300ms", "total": "600ms"}
        defaults = config(services, eject=eject, timeouts=timeouts, retry={"attempts": 1})
        yield running.enter_context(Gateway(door, tmp_path_factory.mktemp(door) / "var", defaults, measured=False))


def post(gateway: Gateway, name: str) -> Reply:
    """Send a request that is not sent again once it has been sent."""
    return once(gateway.port, ask(f"POST /{name}", body=b"x"))


def code_of(reply: Reply) -> str:
    return str(reply.json()["code"]) if reply.get("Content-Type") == "application/problem+json" else ""


@pytest.mark.parametrize("fault", FAULTS)
def test_an_only_address_that_fails_is_rejected_at_once_after_its_failures(fault: str, faulty: Gateway) -> None:
    _, status, code = FAULTS[fault]
    for _ in range(3):
        reply = post(faulty, f"only-{slug(fault)}")
        assert (reply.status, code_of(reply)) == (status, code)
    reply = post(faulty, f"only-{slug(fault)}")
    if reply.status != 503:
        # On a busy machine the half second may be over after which one that closes connections is probed.
        reply = post(faulty, f"only-{slug(fault)}")
    assert (reply.status, code_of(reply)) == (503, "upstream_ejected")
    assert int(reply.get("Retry-After") or 0) >= 1


@pytest.mark.parametrize("fault", FAULTS)
def test_another_address_takes_the_requests_of_one_that_fails(fault: str, faulty: Gateway) -> None:
    _, status, code = FAULTS[fault]
    met = [(reply.status, code_of(reply)) for reply in (post(faulty, f"pair-{slug(fault)}") for _ in range(16))]
    assert met.count((200, "")) == (16 if fault in CONNECT_FAULTS else 13)
    assert met.count((status, code)) == (0 if fault in CONNECT_FAULTS else 3)
    # Nothing goes to it any more.
    assert met[-8:] == [(200, "")] * 8


def test_the_outcomes_are_those_of_the_documentation() -> None:
    text = (PROJECT.parent / "docs" / "operations.md").read_text()
    table = text.partition("| the address | only one | one of two |")[2].partition("\n\n")[0]
    listed = {cells[1].strip(): cells[2:4] for line in table.splitlines()[2:] if len(cells := line.split("|")) > 3}
    assert listed.keys() == FAULTS.keys()
    for fault, (_, status, code) in FAULTS.items():
        only, pair = listed[fault]
        assert only.startswith(f" {status} `{code}`" if code else f" {status}"), fault
        assert pair.strip().startswith("200" if fault in CONNECT_FAULTS else str(status)), fault


@pytest.mark.parametrize("door", DOORS)
def test_of_four_addresses_one_drops_syns_and_one_refuses_and_no_request_fails(door: Door, tmp_path: Path) -> None:
    with ExitStack() as running:
        good = [running.enter_context(Address(OK)) for _ in range(2)]
        drops, refuses = running.enter_context(swallowing()), running.enter_context(refusing())
        urls = [drops, good[0].url, refuses, good[1].url]
        routes = config({"four": {"url": urls, "timeouts": {"connect": f"{CONNECT:.0f}s"}, "eject": {"rest": "5m"}}})
        gateway = running.enter_context(Gateway(door, tmp_path / "var", routes, measured=False))
        slow = 0
        with Client(gateway.port) as client:
            for _ in range(200):
                started = time.monotonic()
                client.send(ask("GET /four"))
                assert client.reply().status == 200
                slow += time.monotonic() - started >= CONNECT * 0.95
        # The five failures that eject the one that drops SYNs, and one to spare.
        assert 1 <= slow <= 6
        assert sum(address.requests for address in good) == 200
        assert_seen(gateway, door, drops.removeprefix("http://"), good[0].url.removeprefix("http://"))


def assert_seen(gateway: Gateway, door: Door, bad: str, good: str) -> None:
    """Assert what metrics, readiness, the log and the status show of a bad and a good address."""
    lines = [line for line in gateway.log_lines() if line.get("event") == "address_ejected"]
    assert len([line for line in lines if line["address"] == bad]) == 1
    reply = once(gateway.port, ask("GET /readyz")).json()
    assert reply["addresses"] == {"four": {"ejected": 2, "healthy": 2}}

    def metric(name: str, address: str, more: str = "") -> float:
        text = once(gateway.port, ask("GET /metrics")).body.decode()
        found = re.search(rf'^{name}{{address="{address}"{more},service="four"}} ([0-9.]+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    wait_until(lambda: metric("gateway_upstream_ejections_total", bad) == 1, "the count of ejections")
    assert metric("gateway_upstream_errors_total", bad, ',cause="connect"') == 5
    assert metric("gateway_upstream_ejected_workers", bad) == 1
    assert metric("gateway_upstream_ejected_workers", good) == 0
    wait_until(lambda: metric("gateway_upstream_seconds_count", good) >= 90, "the count of responses")
    wait_until(lambda: metric("gateway_upstream_in_flight", good) == 0, "no request in flight")
    text = once(gateway.port, ask("GET /metrics")).body.decode()
    left = re.search(r'^gateway_service_retry_budget{service="four"} ([0-9]+)\.0$', text, re.MULTILINE)
    assert left
    assert 3 <= int(left[1]) <= 40
    if door == "fast":
        status = manage(gateway, "status")
        (worker,) = gateway.worker_pids()
        assert re.search(
            rf"^{worker} +four +{bad} +ejected +0 +0 +5 +0 +[0-9]+ +rests [0-9.]+ s$", status, re.MULTILINE
        ), status
        assert re.search(rf"^{worker} +four +{good} +healthy +0 ", status, re.MULTILINE), status


def manage(gateway: Gateway, *arguments: str) -> str:
    """Run a command of the gateway's project, with the gateway's state."""
    environ = {"GATEHOUSE_VAR": str(gateway.var), "GATEWAY_CONFIG": str(gateway.var / "gateway.yaml")}
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=PROJECT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


class Replica:
    """One of several processes of a service, which can be killed and started again."""

    def __init__(self, record: Path) -> None:
        self.port = free_port()
        self.record = record
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.conformance.replica", str(self.port), str(self.record)]
        self.process = subprocess.Popen(command, cwd=PROJECT.parent)
        wait_until(self.accepts, "the replica")

    def accepts(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


REQUESTS = 6000


def test_of_three_addresses_under_load_one_is_killed_and_revived(tmp_path: Path) -> None:
    record = tmp_path / "record"
    replicas = [Replica(record) for _ in range(3)]
    with ExitStack() as running:
        for replica in replicas:
            replica.start()
            running.callback(replica.kill)
        urls = [replica.url for replica in replicas]
        routes = config({"three": {"url": urls, "eject": {"rest": "1s"}}})
        routes["routes"] = [{"path": "/three/{id}", "service": "three", "allow": "public", "methods": ["GET", "POST"]}]
        gateway = running.enter_context(Gateway("fast", tmp_path / "var", routes, measured=False))
        failed: list[str] = []
        numbers, over = itertools.count(), threading.Event()

        def load() -> None:
            with Client(gateway.port) as client:
                while (number := next(numbers)) < REQUESTS or not over.is_set():
                    method = ("GET", "POST")[number % 2]
                    client.send(ask(f"{method} /three/{number}", body=b"x" if method == "POST" else None))
                    if client.reply().status != 200:
                        failed.append(f"{method} {number}")

        with ThreadPoolExecutor(4) as clients:
            loads = [clients.submit(load) for _ in range(4)]
            try:
                wait_until(lambda: lines(record) > REQUESTS / 6, "a sixth of the requests")
                replicas[0].kill()
                wait_until(lambda: events(gateway, "address_ejected"), "the ejection")
                wait_until(lambda: lines(record) > REQUESTS / 3, "a third of the requests")
                replicas[0].start()
                wait_until(lambda: events(gateway, "address_healthy"), "the recovery")
            finally:
                over.set()
            for each in loads:
                each.result()
        assert len(failed) < REQUESTS / 1000, failed
        ran = Counter(line for line in record.read_text().splitlines() if line.startswith("POST"))
        assert set(ran.values()) == {1}


def lines(record: Path) -> int:
    return record.read_bytes().count(b"\n") if record.exists() else 0


def events(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log_lines() if line.get("event") == event]
