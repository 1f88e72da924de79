"""Spans of the gateway's requests and of each try at a service, made when they end, from what was sent and measured.

`traceparent` costs the same without them: `gate` chooses the ids of a span, and here a span with these ids is exported.
What the spans of a route have in common is encoded once.
"""

import time
from functools import lru_cache
from typing import Final

from chassis import otlp, tracing
from chassis.trace_context import TraceParent

from .metrics import METHODS, OTHER_METHOD

# Polled by load balancers and Prometheus.
LEFT_OUT: Final = frozenset({"/healthz", "/livez", "/readyz", "/metrics"})
PATH: Final = otlp.key("url.path")
CLIENT: Final = otlp.key("client.address")
USER: Final = otlp.key("user.id")
REQUEST_ID: Final = otlp.key("gatehouse.request_id")
# Descriptions that are kept.
MAX_CACHED: Final = 4096


class Tracer:
    """Exports spans of requests whose trace is recorded; the caller checks that it is."""

    def __init__(self, settings: tracing.Settings) -> None:
        self.exporter = tracing.Exporter(settings, "gateway")

    def request(  # noqa: PLR0917  # a span's parts
        self,
        traceparent: str,
        parent: TraceParent | None,
        seconds: float,
        method: str,
        path: str,
        scheme: str,
        route: str | None,
        status: int,
        client: str,
        user_id: str | None,
        request_id: str,
    ) -> None:
        """Export the span of a client's request, which has just got its response."""
        if path not in LEFT_OUT:
            self.exporter.add(
                encode_request, traceparent, parent, seconds, time.time_ns(), method, path, scheme, route, status,
                client, user_id, request_id,
            )  # fmt: skip

    def attempt(  # noqa: PLR0917  # a span's parts
        self,
        traceparent: str,
        span_id: str,
        started: int,
        method: str,
        service: str,
        host: str,
        port: int,
        status: int | None,
        error: str | None,
        resent: int,
    ) -> None:
        """Export the span of a try at a service, which has just ended; `resent` is how many came before it."""
        self.exporter.add(
            encode_try, traceparent, span_id, started, time.time_ns(), method, service, host, port, status, error,
            resent,
        )  # fmt: skip


def encode_request(  # noqa: PLR0917
    traceparent: str,
    parent: TraceParent | None,
    seconds: float,
    ended: int,
    method: str,
    path: str,
    scheme: str,
    route: str | None,
    status: int,
    client: str,
    user_id: str | None,
    request_id: str,
) -> bytes:
    rest = b"%b%b%b%b%b" % (
        describe_request(method if method in METHODS else OTHER_METHOD, route, scheme, status),
        otlp.text(PATH, path),
        otlp.text(CLIENT, client),
        otlp.text(REQUEST_ID, request_id),
        b"" if user_id is None else otlp.text(USER, user_id),
    )
    parent_id, started = parent.span_id if parent else "", ended - int(seconds * 1e9)
    return otlp.span(traceparent[3:35], traceparent[36:52], parent_id, started, ended, rest, remote=True)


@lru_cache(MAX_CACHED)
def describe_request(method: str, route: str | None, scheme: str, status: int) -> bytes:
    failed = status >= 500
    attributes = otlp.attributes(
        {
            "http.request.method": method,
            "http.response.status_code": status,
            "url.scheme": scheme,
            "http.route": route,
            "error.type": str(status) if failed else None,
        }
    )
    name = otlp.described(f"{method} {route}" if route else method, otlp.SERVER)
    return name + attributes + (otlp.ERROR if failed else b"")


def encode_try(  # noqa: PLR0917
    traceparent: str,
    span_id: str,
    started: int,
    ended: int,
    method: str,
    service: str,
    host: str,
    port: int,
    status: int | None,
    error: str | None,
    resent: int,
) -> bytes:
    rest = describe_try(method, service, host, port, status, error, resent)
    return otlp.span(traceparent[3:35], span_id, traceparent[36:52], started, ended, rest, remote=False)


@lru_cache(MAX_CACHED)
def describe_try(  # noqa: PLR0917
    method: str, service: str, host: str, port: int, status: int | None, error: str | None, resent: int
) -> bytes:
    if status is not None and status >= 400:
        error = str(status)
    attributes = otlp.attributes(
        {
            "http.request.method": method,
            "server.address": host,
            "server.port": port,
            "gatehouse.service": service,
            "http.response.status_code": status,
            "error.type": error,
            "http.request.resend_count": resent or None,
        }
    )
    name = otlp.described(f"{method} {service}", otlp.CLIENT)
    return name + attributes + (otlp.ERROR if error else b"")


def make_tracer() -> Tracer | None:
    """Return the tracer, or `None` if no spans are exported."""
    settings = tracing.read_settings()
    return None if settings is None else Tracer(settings)
