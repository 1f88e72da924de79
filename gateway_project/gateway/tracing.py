"""Spans of the gateway's requests and of each try at a service, made when they end, from what was sent and measured.

`traceparent` needs no SDK: `gate` chooses the ids of a span, and here a span with these ids is exported. So a gateway
that exports nothing pays nothing for it.
"""

import threading
import time
from typing import TYPE_CHECKING, Final

from chassis import tracing
from chassis.trace_context import TraceParent, parse_traceparent

from .metrics import METHODS, OTHER_METHOD

if TYPE_CHECKING:
    from opentelemetry.trace import SpanKind
    from opentelemetry.util.types import AttributeValue

# Polled by load balancers and Prometheus.
LEFT_OUT: Final = frozenset({"/healthz", "/livez", "/readyz", "/metrics"})


class GivenIds:
    """Ids of spans that were chosen before, for the thread that sets them (OpenTelemetry's `IdGenerator`)."""

    def __init__(self) -> None:
        self.given = threading.local()

    def set(self, span: TraceParent) -> None:
        self.given.span = span

    def generate_span_id(self) -> int:
        return int(self.given.span.span_id, 16)

    def generate_trace_id(self) -> int:
        return int(self.given.span.trace_id, 16)

    def is_trace_id_random(self) -> bool:
        return False


class Tracer:
    def __init__(self) -> None:
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        self.ids = GivenIds()
        # Whether a trace is recorded is decided before, for `traceparent`.
        provider = tracing.make_provider("gateway", id_generator=self.ids, sampler=ALWAYS_ON)
        self.tracer = provider.get_tracer(tracing.SCOPE)

    def export(  # noqa: PLR0917  # a span's parts
        self,
        name: str,
        kind: "SpanKind",
        span: TraceParent,
        parent: TraceParent | None,
        started: int,
        ended: int,
        attributes: "dict[str, AttributeValue]",
        error: str | None,
    ) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context

        context = Context()
        if parent is not None:
            above = trace.SpanContext(
                int(parent.trace_id, 16), int(parent.span_id, 16), True, trace.TraceFlags(trace.TraceFlags.SAMPLED)
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(above), context)
        self.ids.set(span)
        if error is not None:
            attributes["error.type"] = error
        exported = self.tracer.start_span(name, context, kind, attributes, start_time=started)
        if error is not None:
            exported.set_status(trace.StatusCode.ERROR)
        exported.end(ended)

    def request(
        self,
        traceparent: str,
        parent: TraceParent | None,
        seconds: float,
        *,
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
        from opentelemetry.trace import SpanKind

        span = parse_traceparent(traceparent)
        if span is None or not span.is_sampled or path in LEFT_OUT:
            return
        known = method if method in METHODS else OTHER_METHOD
        attributes: dict[str, AttributeValue] = {
            "http.request.method": known,
            "http.response.status_code": status,
            "url.path": path,
            "url.scheme": scheme,
            "client.address": client,
            "gatehouse.request_id": request_id,
        }
        if route is not None:
            attributes["http.route"] = route
        if user_id is not None:
            attributes["user.id"] = user_id
        ended = time.time_ns()
        self.export(
            f"{known} {route}" if route else known, SpanKind.SERVER, span, parent, ended - int(seconds * 1e9), ended,
            attributes, str(status) if status >= 500 else None,
        )  # fmt: skip


def make_tracer() -> Tracer | None:
    """Return the tracer, or `None` if no spans are exported."""
    return Tracer() if tracing.is_on() else None
