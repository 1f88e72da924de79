"""Spans of a service, exported to a real OTLP/HTTP receiver."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import resolve
from opentelemetry import trace
from tests.otlp import SERVER, Receiver
from tests.waiting import wait_until

from chassis import otlp, tracing
from chassis.middleware import TracingMiddleware

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CONTEXT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
Make = Callable[..., tracing.Exporter]


def respond(request: HttpRequest) -> HttpResponse:
    """A view that fails for POST."""
    request.resolver_match = resolve("/version") if request.path == "/version" else None
    return HttpResponse(status=500 if request.method == "POST" else 200)


def encode(name: str) -> bytes:
    return otlp.span(TRACE, PARENT, "", 1, 2, otlp.described(name, otlp.SERVER), remote=False)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield running


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return what makes an exporter with these variables; it is closed afterwards."""
    made = []

    def make(**environ: str) -> tracing.Exporter:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        settings = tracing.read_settings()
        assert settings is not None
        made.append(tracing.Exporter(settings, "shop"))
        return made[-1]

    yield make
    for exporter in made:
        exporter.close()


def test_without_an_endpoint_the_middleware_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MiddlewareNotUsed):
        TracingMiddleware(respond)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with pytest.raises(MiddlewareNotUsed):
        TracingMiddleware(respond)


def test_a_request_is_a_span_within_the_gateways(receiver: Receiver) -> None:
    middleware, requests = TracingMiddleware(respond), RequestFactory()
    assert middleware(requests.post("/items", headers=CONTEXT)).status_code == 500
    assert middleware(requests.generic("BREW", "/version", headers=CONTEXT)).status_code == 200
    assert middleware(requests.get("/healthz", headers=CONTEXT)).status_code == 200
    middleware.exporter.close()
    failed, brewed = receiver.spans
    assert {(span.service, span.kind, span.trace_id, span.parent_id) for span in receiver.spans} == {
        ("shop", SERVER, TRACE, PARENT)
    }
    assert [(span.name, span.is_error) for span in receiver.spans] == [("POST", True), ("_OTHER /version", False)]
    common = {"url.scheme": "http"}
    assert failed.attributes == common | {
        "http.request.method": "POST", "url.path": "/items", "http.response.status_code": 500, "error.type": "500",
    }  # fmt: skip
    assert brewed.attributes == common | {
        "http.request.method": "_OTHER", "url.path": "/version", "http.response.status_code": 200,
        "http.route": "/version",
    }  # fmt: skip
    assert 0 < failed.nanoseconds < 60e9


@pytest.mark.parametrize(
    ("sampler", "argument", "flags", "is_recorded"),
    [
        ("parentbased_always_on", "", "00", False),
        ("always_on", "", "00", True),
        ("always_off", "", "01", False),
        # The lower half of the trace id is 0x8448… of 0xffff…: a little more than a half.
        ("traceidratio", "0.51", "01", False),
        ("traceidratio", "0.52", "00", True),
        ("parentbased_traceidratio", "0", "01", True),
    ],
)
def test_the_sampler_decides_which_traces_are_recorded(
    sampler: str, argument: str, flags: str, is_recorded: bool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    middleware = TracingMiddleware(respond)
    middleware(RequestFactory().get("/items", headers={"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}))
    middleware.exporter.close()
    assert len(receiver.spans) == is_recorded


def test_a_request_without_a_parent_begins_a_trace(receiver: Receiver) -> None:
    middleware = TracingMiddleware(respond)
    for _ in range(2):
        middleware(RequestFactory().get("/items"))
    middleware.exporter.close()
    assert len({span.trace_id for span in receiver.spans} - {TRACE, "0" * 32}) == 2
    assert {span.parent_id for span in receiver.spans} == {""}


def test_a_views_own_spans_are_within_the_services(receiver: Receiver) -> None:
    seen = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(trace.get_current_span().get_span_context())
        return HttpResponse()

    middleware = TracingMiddleware(view)
    for flags in ("01", "00"):
        middleware(RequestFactory().get("/items", headers={"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}))
    middleware.exporter.close()
    (exported,) = receiver.spans
    assert (f"{seen[0].trace_id:032x}", f"{seen[0].span_id:016x}") == (TRACE, exported.span_id)
    assert [context.trace_flags.sampled for context in seen] == [True, False]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_complete_batch_is_exported_at_once_and_the_rest_after_the_delay(receiver: Receiver, make: Make) -> None:
    exporter = make(OTEL_BSP_SCHEDULE_DELAY="600000", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    for number in range(25):
        exporter.add(encode, str(number))
    receiver.wait_for(20)
    assert (len(receiver.spans), receiver.requests) == (20, 2)
    exporter.close()
    assert [each.name for each in receiver.spans] == [str(number) for number in range(25)]
    soon = make(OTEL_BSP_SCHEDULE_DELAY="20")
    soon.add(encode, "soon")
    receiver.wait_for(26)


def test_a_receiver_that_rejects_spans_is_logged_once_and_so_is_its_recovery(
    receiver: Receiver, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chassis.tracing")
    exporter = make()
    for number, status in enumerate((400, 400, 200, 200), 1):
        receiver.status = status
        exporter.add(encode, f"answered {status}")
        wait_until(lambda: receiver.requests == number, "the export")  # noqa: B023
    exporter.close()
    assert [record.getMessage() for record in caplog.records if record.name == "chassis.tracing"] == [
        "Spans cannot be exported and are dropped. Check OTEL_EXPORTER_OTLP_ENDPOINT.",
        "Spans are exported again. 2 were dropped.",
    ]
    assert [span.name for span in receiver.spans] == ["answered 200"] * 2


def test_a_batch_is_sent_again_to_a_receiver_that_is_unavailable(receiver: Receiver, make: Make) -> None:
    receiver.status = 503
    exporter = make()
    exporter.add(encode, "kept")
    wait_until(lambda: receiver.requests, "the first try")
    receiver.status = 200
    assert [span.name for span in receiver.wait_for(1)] == ["kept"]
    assert exporter.dropped == 0


def test_a_full_queue_drops_the_oldest_and_the_log_has_how_many(
    receiver: Receiver, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(OTEL_BSP_SCHEDULE_DELAY="600000", OTEL_BSP_MAX_QUEUE_SIZE="20")
    with receiver.paused():
        exporter.add(encode, "first")
        for number in range(100):
            exporter.add(encode, str(number))
            if number == 19:
                wait_until(lambda: receiver.requests, "the first export")
    exporter.close()
    received = [span.name for span in receiver.spans]
    assert received[-20:] == [str(number) for number in range(80, 100)]
    (message,) = [record.getMessage() for record in caplog.records if record.name == "chassis.tracing"]
    assert message.startswith(f"{101 - len(received)} spans were dropped: ")


def test_a_receiver_that_never_responds_delays_the_end_by_two_seconds(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporter = make(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
        exporter.add(encode, "lost")
        began = time.monotonic()
        exporter.close()
        assert tracing.LAST_EXPORT <= time.monotonic() - began < 5 * tracing.LAST_EXPORT


def test_each_process_exports_its_own_spans_after_a_fork(receiver: Receiver, make: Make) -> None:
    exporter = make(OTEL_BSP_SCHEDULE_DELAY="600000")
    exporter.add(encode, "parent")
    if (pid := os.fork()) == 0:
        exporter.add(encode, "child")
        exporter.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert [span.name for span in receiver.spans] == ["child"]
    exporter.close()
    assert [span.name for span in receiver.spans] == ["child", "parent"]


def test_headers_compression_and_the_resource_are_opentelemetrys_variables(receiver: Receiver, make: Make) -> None:
    exporter = make(
        OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b, x-team = shop ",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_RESOURCE_ATTRIBUTES="service.name=other,deployment.environment.name=a%2Cb",
    )
    exporter.add(encode, "one")
    exporter.close()
    (one,) = receiver.spans
    assert (one.service, one.resource["deployment.environment.name"]) == ("other", "a,b")
    assert one.resource["telemetry.sdk.language"] == "python"
    headers = receiver.headers
    assert (headers["X-Key"], headers["X-Team"], headers["Content-Encoding"]) == ("a b", "shop", "gzip")
    named = make(OTEL_SERVICE_NAME="mine", OTEL_EXPORTER_OTLP_TRACES_HEADERS="x-key=own")
    named.add(encode, "two")
    named.close()
    assert (receiver.spans[-1].service, receiver.headers["X-Key"]) == ("mine", "own")


def test_an_endpoint_for_traces_alone_is_used_as_it_is(receiver: Receiver, make: Make) -> None:
    exporter = make(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.url}/v1/traces", OTEL_EXPORTER_OTLP_ENDPOINT="")
    exporter.add(encode, "one")
    exporter.close()
    assert len(receiver.spans) == 1


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "expected a URL that begins with http:// or https://"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "expected a whole number above 0, got '10s'"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "expected a whole number above 0, got '0'"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "expected name=value, separated by commas"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "expected gzip or none, got 'zstd'"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/missing.pem", "expected a file of certificates: "),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/missing.pem", "expected a file of certificates: "),
        ("OTEL_TRACES_SAMPLER", "sometimes", "expected one of always_on, "),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "expected a number from 0 to 1, got '2'"),
        ("OTEL_TRACES_SAMPLER_ARG", "all", "expected a number from 0 to 1, got 'all'"),
    ],
)
def test_a_bad_setting_is_an_error_that_names_it(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=variable) as caught:
        tracing.read_settings()
    assert str(caught.value).startswith(f"{variable}: {message}")
