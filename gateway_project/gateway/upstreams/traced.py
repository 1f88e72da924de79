"""A request's way to its service with a span of each try, if its trace is recorded."""

import time
from typing import TYPE_CHECKING

from chassis import logs
from gateway.policy.rejections import UpstreamError

from .forwarding import Forwarding

if TYPE_CHECKING:
    from gateway.tracing import Tracer

    from .balancing import Pools
    from .pools import Pool
    from .requests import UpstreamRequest
    from .responses import ServiceResponse


class TracedForwarding(Forwarding):
    """The same as `Forwarding`; each try has a span of its own, within the request's, as the parent of the service's.

    `traceparent` is that of the request. The span of a try ends when the response is ready to be sent on, or when the
    try has failed.
    """

    __slots__ = ("sent", "span", "started", "traceparent", "tracer")

    def __init__(self, pools: "Pools", request: "UpstreamRequest", traceparent: str, tracer: "Tracer") -> None:
        super().__init__(pools, request)
        self.traceparent = traceparent
        self.tracer = tracer
        # The try under way, and how many have ended.
        self.span, self.sent = "", 0
        self.begin_try()

    async def attempt(self) -> "ServiceResponse":
        self.begin_try()
        return await super().attempt()

    def must_resend(self, response: "ServiceResponse") -> bool:
        if response.error is None or not response.has_failed:
            self.end_try(self.pool, response.status)
            return super().must_resend(response)
        pool = self.pool
        try:
            return super().must_resend(response)
        finally:
            # A stale connection is not an error of the service, and was not noted.
            self.end_try(pool, error=type(response.error).__name__)

    def note_error(self, pool: "Pool", error: UpstreamError, more: str = "") -> None:
        super().note_error(pool, error, more)
        sent = self.span
        if sent and self.response is None:
            # Nothing was sent: the next address, which may be tried at once, gets the request with this span.
            self.span = logs.new_id()[16:]
        self.end_try(pool, error=error.reason)
        if self.response is None:
            self.span, self.started = sent, time.time_ns()

    def end(self) -> None:
        if self.span and self.response is not None and self.tries:
            self.end_try(self.pool, error="cancelled")
        super().end()

    def begin_try(self) -> None:
        """Name the span of the next try in what is sent."""
        self.span = span = logs.new_id()[16:]
        self.started = time.time_ns()
        headers = [pair for pair in self.request.headers if pair[0].lower() != "traceparent"]
        headers.append(("traceparent", f"{self.traceparent[:36]}{span}-01"))
        self.request.headers = headers

    def end_try(self, pool: "Pool", status: int | None = None, error: str | None = None) -> None:
        span, request, address = self.span, self.request, pool.address
        if span:
            self.span = ""
            self.tracer.attempt(
                self.traceparent, span, self.started, request.method, request.service, address.host, address.port,
                status, error, self.sent,
            )  # fmt: skip
            self.sent += 1
