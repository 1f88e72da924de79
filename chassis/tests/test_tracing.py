"""Spans of a service, exported to a real OTLP/HTTP receiver."""

import logging
from collections.abc import Iterator

import pytest
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import resolve

pytest.importorskip("opentelemetry.sdk", reason="requirements/telemetry.txt is not installed")

from opentelemetry import trace
from tests.otlp import SERVER, Receiver

from chassis import tracing
from chassis.middleware import TracingMiddleware

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def respond(request: HttpRequest) -> HttpResponse:
    """A view that fails for POST."""
    request.resolver_match = resolve("/openapi.json") if request.path == "/openapi.json" else None
    return HttpResponse(status=500 if request.method == "POST" else 200)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield running


def test_without_an_endpoint_the_middleware_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MiddlewareNotUsed):
        TracingMiddleware(respond)


def test_missing_packages_are_an_error_that_names_the_setting(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: .*requirements/telemetry\.txt"):
        tracing.is_on()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not tracing.is_on()


def test_a_request_is_a_span_within_the_gateways(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = tracing.make_provider("shop")
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    middleware, requests = TracingMiddleware(respond), RequestFactory()
    context = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    assert middleware(requests.post("/items", headers=context)).status_code == 500
    assert middleware(requests.generic("BREW", "/items", headers=context)).status_code == 200
    assert middleware(requests.get("/healthz", headers=context)).status_code == 200
    spans = receiver.wait_for(2)
    tracing.shut_down(provider)
    assert {(span.service, span.kind, span.trace_id, span.parent_id) for span in receiver.spans} == {
        ("shop", SERVER, TRACE, PARENT)
    }
    assert [(span.name, span.is_error) for span in spans] == [("POST", True), ("_OTHER", False)]
    assert spans[0].attributes["error.type"] == "500"
    assert "/healthz" not in {span.attributes["url.path"] for span in receiver.spans}


def test_a_receiver_that_rejects_spans_is_logged_once_and_so_is_its_recovery(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chassis.tracing")
    receiver.status = 400
    provider = tracing.make_provider("shop")
    tracer = provider.get_tracer("test")
    for status in (400, 400, 200):
        receiver.status = status
        tracer.start_span("work").end()
        provider.force_flush()
    tracing.shut_down(provider)
    messages = [record.getMessage() for record in caplog.records if record.name == "chassis.tracing"]
    assert messages == [
        "Spans cannot be exported and are dropped. Check OTEL_EXPORTER_OTLP_ENDPOINT.",
        "Spans are exported again.",
    ]
    assert [span.name for span in receiver.spans] == ["work"]
