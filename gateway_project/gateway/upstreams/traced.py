"""A request's way to its service with a span of each try, if spans are exported."""

import time
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING

from chassis.trace_context import TraceParent, parse_traceparent
from gateway.policy.headers import values
from gateway.policy.rejections import UpstreamError

from .forwarding import Forwarding

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from gateway.tracing import Tracer

    from .balancing import Pools
    from .pools import Pool
    from .requests import UpstreamRequest
    from .responses import ServiceResponse


class TracedForwarding(Forwarding):
    """The same as `Forwarding`; each try has a span of its own, within the request's, as the parent of the service's.

    A span ends when the response is ready to be sent on, or when the try has failed.
    """

    __slots__ = ("parent", "sent", "span", "started", "tracer")

    def __init__(self, pools: "Pools", request: "UpstreamRequest", tracer: "Tracer") -> None:
        super().__init__(pools, request)
        self.tracer = tracer
        traceparent = values(request.headers, "traceparent")
        found = parse_traceparent(traceparent[0]) if traceparent else None
        self.parent = found if found is not None and found.is_sampled else None
        # The try under way, and how many have ended.
        self.span: TraceParent | None = None
        self.started = 0
        self.sent = 0

    def send_on_idle(self, notify: Callable[[], None]) -> "ServiceResponse | None":
        self.begin_try()
        return super().send_on_idle(notify)

    async def attempt(self) -> "ServiceResponse":
        self.begin_try()
        return await super().attempt()

    def must_resend(self, response: "ServiceResponse") -> bool:
        pool = self.pool
        failed = response.error is not None and response.has_failed
        if not failed:
            self.end_try(pool, response.status)
        try:
            return super().must_resend(response)
        finally:
            if failed:
                # A stale connection is not an error of the service, and was not noted.
                self.end_try(pool, error=type(response.error).__name__)

    def note_error(self, pool: "Pool", error: UpstreamError, more: str = "") -> None:
        super().note_error(pool, error, more)
        sent = self.span
        if sent is not None and self.response is None:
            # Nothing was sent: the next address, which may be tried at once, gets the request with this span.
            self.span = sent._replace(span_id=token_hex(8))
        self.end_try(pool, error=error.reason)
        if self.response is None:
            self.span, self.started = sent, time.time_ns()

    def end(self) -> None:
        if self.response is not None and self.span is not None and self.tries:
            self.end_try(self.pool, error="cancelled")
        super().end()

    def begin_try(self) -> None:
        """Name the span of the next try in what is sent."""
        if self.parent is None:
            return
        self.span = span = TraceParent(self.parent.trace_id, token_hex(8), True)
        self.started = time.time_ns()
        pairs = [pair for pair in self.request.headers if pair[0].lower() != "traceparent"]
        traceparent = ("traceparent", f"00-{span.trace_id}-{span.span_id}-01")
        self.request = replace(self.request, headers=[*pairs, traceparent])

    def end_try(self, pool: "Pool", status: int | None = None, error: str | None = None) -> None:
        from opentelemetry.trace import SpanKind

        span, self.span = self.span, None
        if span is None:
            return
        attributes: dict[str, AttributeValue] = {
            "http.request.method": self.request.method,
            "server.address": pool.address.host,
            "server.port": pool.address.port,
            "gatehouse.service": self.request.service,
        }
        if status is not None:
            attributes["http.response.status_code"] = status
            error = str(status) if status >= 400 else None
        if self.sent:
            attributes["http.request.resend_count"] = self.sent
        self.sent += 1
        self.tracer.export(
            f"{self.request.method} {self.request.service}", SpanKind.CLIENT, span, self.parent, self.started,
            time.time_ns(), attributes, error,
        )  # fmt: skip
