"""Spans of the gateway and of each try at a service, exported to a real OTLP/HTTP receiver."""

import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.gateways import DOORS, PROJECT, Door, Gateway
from tests.otlp import CLIENT, SERVER, Receiver, Span
from tests.ports import free_port
from tests.waiting import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
# Short, so that tests need not wait for a batch.
OFTEN = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


class Service(ThreadingHTTPServer):
    """Responds with the statuses in turn, and keeps the `traceparent` of each request."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = [*statuses]
        self.received: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Otherwise the body waits for the ACK of the headers.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                service.received.append(self.headers["traceparent"])
                self.send_response(service.statuses.pop(0) if service.statuses else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


def gateway(door: Door, var: Path, receiver: Receiver | str, urls: list[str], **environ: str) -> Gateway:
    config = {
        "services": {"things": {"url": urls}},
        "routes": [
            {"path": "/api/things/{id}", "methods": ["GET"], "service": "things", "allow": "public",
             "retry": {"attempts": 3, "on": ["503", "connect"]}},
        ],
    }  # fmt: skip
    url = receiver if isinstance(receiver, str) else receiver.url
    return Gateway(door, var, config, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": url, **OFTEN, **environ}, measured=False)


def ask(url: str, flags: str | None = None) -> int:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"} if flags else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as exc:
        return exc.code


def in_trace(span: Span) -> bool:
    return span.trace_id == TRACE


@pytest.mark.parametrize("door", DOORS)
def test_a_request_has_a_span_and_each_try_one_within_it(door: Door, tmp_path: Path, receiver: Receiver) -> None:
    service = Service(503, 200)
    with gateway(door, tmp_path / "var", receiver, [service.url]) as running:
        assert ask(f"{running.url}/api/things/7?secret=1", "01") == 200
        spans = receiver.wait_for(3, in_trace)
    (request,) = [span for span in spans if span.kind == SERVER]
    tries = [span for span in spans if span.kind == CLIENT]
    assert (request.service, request.name, request.parent_id) == ("gateway", "GET /api/things/{id}", PARENT)
    request_id = request.attributes.pop("gatehouse.request_id")
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert request.attributes == {
        "http.request.method": "GET", "http.response.status_code": 200, "http.route": "/api/things/{id}",
        "url.path": "/api/things/7", "url.scheme": "http", "client.address": "127.0.0.1",
    }  # fmt: skip
    common = {
        "http.request.method": "GET", "server.address": "127.0.0.1", "server.port": service.server_port,
        "gatehouse.service": "things",
    }  # fmt: skip
    assert [span.attributes for span in tries] == [
        common | {"http.response.status_code": 503, "error.type": "503"},
        common | {"http.response.status_code": 200, "http.request.resend_count": 1},
    ]
    assert [span.is_error for span in (request, *tries)] == [False, True, False]
    assert {(span.name, span.parent_id) for span in tries} == {("GET things", request.span_id)}
    # The service's own span is a child of the try that it responded to.
    assert service.received == [f"00-{TRACE}-{span.span_id}-01" for span in tries]
    assert sum(span.nanoseconds for span in tries) < request.nanoseconds < 30e9


@pytest.mark.parametrize("door", DOORS)
def test_a_try_at_an_address_that_refuses_has_a_span_too(door: Door, tmp_path: Path, receiver: Receiver) -> None:
    service = Service()
    with gateway(door, tmp_path / "var", receiver, [f"http://127.0.0.1:{free_port()}", service.url]) as running:
        while not any(in_trace(span) and span.is_error for span in receiver.spans):
            assert ask(f"{running.url}/api/things/7", "01") == 200
        refused = next(span for span in receiver.spans if span.is_error)
        tries = receiver.wait_for(2, lambda span: span.kind == CLIENT and span.parent_id == refused.parent_id)
    responded = next(span for span in tries if not span.is_error)
    assert "cannot be reached" in refused.attributes["error.type"]
    assert refused.span_id not in {value.split("-")[2] for value in service.received}
    assert f"00-{TRACE}-{responded.span_id}-01" in service.received


@pytest.mark.parametrize("door", DOORS)
def test_a_trace_that_is_not_recorded_and_the_probes_have_no_spans(
    door: Door, tmp_path: Path, receiver: Receiver
) -> None:
    service = Service()
    with gateway(door, tmp_path / "var", receiver, [service.url]) as running:
        assert ask(f"{running.url}/api/things/1", "00") == 200
        assert [ask(running.url + path) for path in ("/healthz", "/metrics")] == [200, 200]
        assert ask(f"{running.url}/.well-known/jwks.json") == 200
        receiver.wait_for(1, lambda span: span.attributes["url.path"] == "/.well-known/jwks.json")
        assert ask(f"{running.url}/nothing") == 404
        receiver.wait_for(1, lambda span: span.attributes["url.path"] == "/nothing")
    assert {span.attributes["url.path"] for span in receiver.spans} == {"/.well-known/jwks.json", "/nothing"}
    assert service.received[0].endswith("-00")


def test_a_sampler_that_records_nothing_exports_nothing(tmp_path: Path, receiver: Receiver) -> None:
    service = Service()
    with gateway("fast", tmp_path / "var", receiver, [service.url], OTEL_TRACES_SAMPLER="always_off") as running:
        assert ask(f"{running.url}/api/things/1", "01") == 200
    assert service.received[0].endswith("-00")
    assert receiver.spans == []


def test_the_last_spans_are_exported_at_the_end(tmp_path: Path, receiver: Receiver) -> None:
    service = Service()
    with gateway("fast", tmp_path / "var", receiver, [service.url], OTEL_BSP_SCHEDULE_DELAY="600000") as running:
        assert ask(f"{running.url}/api/things/1", "01") == 200
        assert receiver.spans == []
    assert len(receiver.spans) == 2


def warnings(gateway: Gateway, text: str) -> int:
    return sum(text in line["message"] for line in gateway.log_lines())


def test_a_receiver_that_fails_is_logged_once_and_delays_nothing(tmp_path: Path) -> None:
    service, port = Service(), free_port()
    environ = {"OTEL_BSP_MAX_QUEUE_SIZE": "20", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
               "OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}  # fmt: skip
    with gateway("fast", tmp_path / "var", f"http://127.0.0.1:{port}", [service.url], **environ) as running:
        for _ in range(100):
            assert ask(f"{running.url}/api/things/1", "01") == 200
        wait_until(lambda: warnings(running, "cannot be exported"), "the warning")
        for _ in range(100):
            assert ask(f"{running.url}/api/things/1", "01") == 200
        with Receiver(port) as receiver:
            assert ask(f"{running.url}/api/things/1", "01") == 200
            receiver.wait_for(1)
            wait_until(lambda: warnings(running, "exported again"), "the end of it")
        lines = [line for line in running.log_lines() if line["logger"] != "access"]
    failed, again = [line["message"] for line in lines if "pans" in line["message"]]
    assert failed == "Spans cannot be exported and are dropped. Check OTEL_EXPORTER_OTLP_ENDPOINT."
    assert re.fullmatch(r"Spans are exported again. [0-9]+ were dropped.", again)


def test_a_receiver_that_never_responds_does_not_delay_the_end(tmp_path: Path) -> None:
    service = Service()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with gateway("fast", tmp_path / "var", f"http://127.0.0.1:{silent.getsockname()[1]}", [service.url]) as running:
            assert ask(f"{running.url}/api/things/1", "01") == 200
            silent.settimeout(30)
            connection, _ = silent.accept()
        connection.close()
    assert running.process is not None
    assert running.process.returncode == 0


def test_a_setting_that_cannot_be_used_is_an_error_at_start(tmp_path: Path) -> None:
    script = "from gateway_project import environment; environment.read()"
    environ: dict[str, Any] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_BSP_MAX_QUEUE_SIZE": "many",
        "GATEHOUSE_VAR": str(tmp_path), "PYTHONPATH": ":".join(sys.path),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=environ, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 1
    assert "OTEL_BSP_MAX_QUEUE_SIZE: expected a whole number above 0, got 'many'" in done.stderr
