"""One request of a client, from its head to the last byte of its response.

`decide` reads like the list of a request's steps. A request without a body that waits only for its service takes no
task: `step` runs `decide`, and `step` runs `advance` when the service's response is ready. What has to wait for
anything else continues in a task, in the same object, by the same functions.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING, Any, cast

from chassis import logs
from gateway.admission import Decision
from gateway.policy.headers import Headers
from gateway.policy.origins import SAFE_METHODS
from gateway.policy.rejections import ContentTooLarge, RequestRejected, RouteNotFound
from gateway.policy.routes import Match
from gateway.upstreams import NO_BODY, WHOLE, Body, Forwarding, HeaderBlock, encode_headers

from . import delivery, pages, problem_responses, sending
from .client import ClientConnection
from .incoming import CLIENT_LEFT, parse_request, receive_body
from .messages import RequestMessage
from .writer import ResponseWriter

if TYPE_CHECKING:
    from gateway.upstreams import ResponseHead, ServiceResponse

    from .application import FastProxy

# What a step returns if the rest of the exchange has to wait.
Waiting = Coroutine[Any, Any, None] | None


class Exchange:
    """A request and its response."""

    __slots__ = (
        "body", "connection", "decision", "forwarding", "label", "match", "message", "proxy", "request", "response",
        "started", "task", "writer",
    )  # fmt: skip

    def __init__(self, proxy: "FastProxy", connection: ClientConnection, message: RequestMessage) -> None:
        self.started = time.perf_counter()
        self.proxy = proxy
        self.connection = connection
        self.message = message
        self.writer: ResponseWriter | None = None
        self.body = NO_BODY
        self.match: Match | None = None
        # What a request without a route is counted under.
        self.label = "none"
        self.decision: Decision | None = None
        # The way to the service, and its response.
        self.forwarding: Forwarding | None = None
        self.response: ServiceResponse | None = None
        self.task: asyncio.Task[None] | None = None
        self.request = parse_request(connection, message, proxy.gate)

    # How it runs.

    def step(self, run: Callable[[], Waiting]) -> None:
        """Run a step, and if it has to wait, a task for the rest; else end the exchange, unless its service does."""
        logs.request_id.set(self.request.request_id)
        logs.traceparent.set(self.request.traceparent)
        waiting: Waiting = None
        try:
            waiting = run()
        except RequestRejected as rejected:
            problem_responses.reject(self, rejected)
        except Exception as exc:  # noqa: BLE001  # a fault of the gateway's own must not end the connection
            problem_responses.fail(self, exc)
        if waiting is None and self.writer is not None:
            if not self.connection.writable:
                self.end()
                return
            waiting = self.connection.wait_for_client(self.writer)
        if waiting is not None:
            self.task = self.connection.loop.create_task(self.run(waiting))
            self.task.add_done_callback(partial(self.ended, waiting))

    async def run(self, waiting: Coroutine[Any, Any, None]) -> None:
        try:
            try:
                await waiting
            except RequestRejected as rejected:
                problem_responses.reject(self, rejected)
            if self.connection.writable and self.writer is not None:
                await self.connection.wait_for_client(self.writer)
        except Exception as exc:  # noqa: BLE001
            problem_responses.fail(self, exc)

    def ended(self, waiting: Coroutine[Any, Any, None], task: asyncio.Task[None]) -> None:
        """End the exchange after its task, which may have been cancelled before its first step."""
        if task.cancelled():
            self.message.keep_alive = False
            if getcoroutinestate(waiting) == CORO_CREATED:
                waiting.close()
                if self.decision is not None and self.response is None:
                    self.note(CLIENT_LEFT)
        self.end()

    def end(self) -> None:
        if self.body.holding:
            self.body.release()
        if self.forwarding is not None:
            self.forwarding.end()
        self.connection.finished(self)

    def cancel(self) -> None:
        """End the exchange: the client has left, or its body is malformed."""
        if self.message.body is not None:
            self.message.body.time_out()
        if self.task is not None:
            self.task.cancel()
        else:
            self.note(CLIENT_LEFT)
            self.end()

    def on_timeout(self) -> None:
        connection, writer = self.connection, self.writer
        if connection.writable and writer and writer.patience:
            until = writer.patience.renew(connection.loop.time(), connection.delivered(writer))
            connection.deadline.set(until) if until else connection.abort()
        elif self.message.body is not None:
            self.message.body.time_out()

    # The steps.

    def decide(self) -> Waiting:
        request, gate = self.request, self.proxy.gate
        page = request.headers.prefers_page
        try:
            gate.check(request)
            self.match = match = gate.route(request.method, request.path, request.query)
            if (
                (page and match.prepared.has_page)
                or (match.prepared.is_audited and request.method not in SAFE_METHODS)
                or (request.headers.has_cookies and gate.can_refresh(request))
            ):
                return pages.hand_over(self, self.proxy.pages, match.route.max_body)
            if request.method == "OPTIONS" and gate.handles_options(request, match):
                self.respond(204, gate.options(request, match))
                return None
            if gate.shared is not None and match.limits is not None:
                return self.decide_shared(match)
            self.decision = gate.authorize(request, match)
        except RequestRejected as rejected:
            return self.leave_to_django(rejected)
        body = self.message.body
        if body is not None:
            if not body.is_complete or body.received > WHOLE:
                return self.forward()
            if body.received > match.prepared.max_body:
                raise ContentTooLarge(match.prepared.max_body)
            self.body = Body.of(body.take())
        self.forwarding = sending.forwarding_of(self, self.decision)
        self.response = self.forwarding.send_on_idle(self.on_response)
        return self.forward() if self.response is None else None

    async def decide_shared(self, match: Match) -> None:
        """Decide by the counts that several machines share, and send the request on."""
        try:
            self.decision = await self.proxy.gate.authorize_shared(self.request, match)
        except RequestRejected as rejected:
            await self.leave_to_django(rejected)
            return
        except asyncio.CancelledError:
            self.note(CLIENT_LEFT)
            raise
        await self.forward()

    def leave_to_django(self, rejected: RequestRejected) -> Coroutine[Any, Any, None]:
        """Return what lets Django respond: a person's request, or for no route. Raise the rejection of others.

        Django comes to the same decision, and has a page for it.
        """
        if isinstance(rejected, RouteNotFound):
            return pages.respond_for_own_path(self)
        if self.request.headers.prefers_page or self.request.path == "*":
            return pages.hand_over(self, self.proxy.django)
        raise rejected

    def on_response(self) -> None:
        self.step(self.advance)

    def advance(self) -> Waiting:
        """Send the response on if it is complete; what remains to be done waits."""
        forwarding, response = cast("Forwarding", self.forwarding), cast("ServiceResponse", self.response)
        if forwarding.must_resend(response):
            return self.forward(resend=True)
        return self.deliver(response)

    async def forward(self, *, resend: bool = False) -> None:
        """Receive the body, or of a large one the beginning, and send the request on, and then the response."""
        decision = cast("Decision", self.decision)
        try:
            if self.body is NO_BODY and self.message.body is not None:
                await receive_body(self, self.message.body, decision.match.route.max_body)
            forwarding = self.forwarding = self.forwarding or sending.forwarding_of(self, decision)
            self.response = await forwarding.send(resend=resend)
        except asyncio.CancelledError:
            self.note(CLIENT_LEFT)
            raise
        if self.body.holding:
            self.body.release()
        rest = self.deliver(self.response)
        if rest is not None:
            await rest

    def deliver(self, response: "ServiceResponse") -> Waiting:
        """Send the response on, whole if it is; return what sends the rest."""
        decision, head = cast("Decision", self.decision), cast("ResponseHead", response.head)
        if response.is_upgraded:
            self.note(101)
            # An open WebSocket is no request in flight.
            cast("Forwarding", self.forwarding).leave()
            return delivery.join(self, response, decision)
        if head.has_locations:
            block = delivery.public_block(self.proxy.gate, decision, head)
        else:
            block = head.block(decision.grant.view)
        policies, more = decision.match.policies, b""
        if policies is not None:
            if policies.deprecation is not None:
                more = policies.deprecation.lines(decision.match.params)
            if block.coding is not None:
                return delivery.compress(self, response, block, block.coding, more)
        self.note(head.status)
        writer = self.begin(head.status, block, self.request.request_id, more)
        if not response.is_whole:
            return delivery.stream(self, response, writer)
        self.connection.write(writer, response.take(), more=False)
        return None

    # Outcomes.

    def respond(
        self, status: int, pairs: Headers, content: bytes = b"", rejected: RequestRejected | None = None
    ) -> None:
        self.note(status, rejected)
        if content:
            pairs = [*pairs, ("content-length", str(len(content)))]
        writer = self.begin(status, encode_headers(status, pairs), self.request.request_id)
        self.connection.write(writer, content, more=False)

    def begin(self, status: int, block: HeaderBlock, request_id: str | None, more: bytes = b"") -> ResponseWriter:
        """Compose the response's head; `more` are lines like the block's."""
        # A request that was counted has a decision; a rejection by a rate limit brings these headers itself.
        standing = self.decision.standing if self.decision is not None else None
        if standing is not None and standing.limits.announced:
            more += standing.lines()
        alive = self.connection.worker.alive
        self.writer = writer = ResponseWriter(status, block, request_id, self.message, alive=alive, more=more)
        return writer

    def note(self, status: int, rejected: RequestRejected | None = None) -> None:
        request, match, decision = self.request, self.match, self.decision
        seconds = time.perf_counter() - self.started
        service = match.prepared.service if match else None
        address = self.forwarding.address if self.forwarding else None
        identity = decision.grant.identity if decision else rejected.identity if rejected else None
        user_id = identity.user_id if identity else None
        code = rejected.problem_code if rejected else None
        client = request.headers.address
        self.proxy.tally.count(request.method, match.prepared.path if match else self.label, status, seconds)
        self.proxy.access_log.write(
            request.request_id,
            request.trace_id,
            request.method,
            request.path,
            status,
            seconds,
            user_id,
            client,
            service,
            address,
            code,
        )
        if self.proxy.tracer is not None and request.is_recorded:
            self.proxy.tracer.request(
                request.traceparent, request.headers.trace_parent, seconds, request.method, request.path,
                request.scheme, match.route.path if match else None, status, client, user_id, request.request_id,
            )  # fmt: skip
        if status >= 400 and (rejected is not None or status >= 500):
            problem_responses.record(self, status, seconds, rejected)
