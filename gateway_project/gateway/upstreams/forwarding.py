"""A request's way to its service: which address, which connection, and when it is sent again.

A request is sent again in three cases.
- An address accepts no connection: the next address is tried at once, each of them once. Nothing was sent, so this
  holds for every request and is no retry.
- An idle connection turns out to be closed: the request is sent once more, on a new connection, if it is safe to
  repeat. The service has not failed.
- The service failed, in a way that the route's `retry` names: after a back-off, within the budget of the service, at
  most `attempts` times in all. Only what is safe to repeat is: an idempotent method, or an `Idempotency-Key`, with the
  whole body still here. A request that no address accepted may always be retried.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.policy.rejections import UpstreamDisconnected, UpstreamError, UpstreamProtocolError, UpstreamTimeout
from gateway.policy.retries import backoff, retry_after

from . import measurements
from .balancing import Pools
from .plans import Plan
from .pools import ConnectError, Pool
from .requests import UpstreamRequest
from .responses import ServiceResponse
from .service import ClosedBeforeResponse, ServiceConnection

# What a client would get, for `retry.on`. An error of the gateway's own, such as its stop, is not retried.
CAUSES: Final[dict[type[Exception], str]] = {
    ClosedBeforeResponse: "reset",
    UpstreamDisconnected: "502",
    UpstreamProtocolError: "502",
    UpstreamTimeout: "504",
}


class Forwarding:
    """One request's way. All that is tried shares one deadline. The caller calls `end` at the end."""

    __slots__ = (
        "address", "balancer", "deadline", "delay", "failed", "has_place", "is_whole", "plan", "pool", "pools",
        "repeatable", "request", "response", "tries", "waited", "went_wrong",
    )  # fmt: skip

    def __init__(self, pools: Pools, request: UpstreamRequest) -> None:
        self.pools = pools
        self.request = request
        self.balancer = balancer = pools.of(request.service)
        # The address that is tried, and those that have failed.
        self.pool = balancer.only or balancer.first()
        self.failed: tuple[Pool, ...] = ()
        # What went wrong, for the operator: address, what, and seconds from the beginning.
        self.went_wrong: tuple[tuple[str, str, float], ...] = ()
        now = pools.loop.time()
        self.deadline = now + request.timeouts.total
        # Before anything is sent: a body sent in pieces is complete in the end, and gone.
        self.is_whole = request.body.is_whole
        self.repeatable = request.is_repeatable
        # How often it was sent, or found no address; and the seconds before it is sent again.
        self.tries = 0
        self.delay = 0.0
        # Whether a part of its time has passed before it is sent.
        self.waited = False
        self.response: ServiceResponse | None = None
        # The one that responded or failed, for the log.
        self.address: str | None = None
        # What holds for its route, and whether it has a place in the bulkhead.
        self.plan: Plan | None = None
        self.has_place = False
        if request.policies is not None:
            self.plan = plan = pools.plans.of(request.service, request.policies)
            self.has_place = plan.begin(now)

    def send_on_idle(self, notify: Callable[[], None]) -> ServiceResponse | None:
        """Send the request at once if there is a place and an idle connection; `notify` as `ServiceResponse`.

        Then `must_resend` judges the response.
        """
        if self.plan is not None and not self.has_place:
            return None
        connection = self.pool.acquire_idle(repeatable=self.repeatable)
        if connection is None:
            return None
        self.tries = 1
        self.response = connection.round_trip(self.request, self.deadline, notify)
        return self.response

    async def send(self, *, resend: bool = False) -> ServiceResponse:
        """Send the request until its response is final, and return that once it is ready; raise `RequestRejected`.

        With `resend`, the response of `send_on_idle` has to be replaced.
        """
        if self.plan is not None and not self.has_place:
            await self.wait_for_place(self.plan)
        while True:
            if resend:
                await self.prepare_resend()
            rejection = self.balancer.rejection()
            try:
                response = await self.attempt()
            except ConnectError as exc:
                self.tries += 1
                if rejection:
                    raise rejection from exc
                if not self.may_retry("connect"):
                    raise exc.error from exc
                resend = True
                continue
            resend = self.must_resend(response)
            if not resend:
                return response

    async def wait_for_place(self, plan: Plan) -> None:
        try:
            await plan.bulkhead.enter(self.deadline - self.pools.loop.time())
        except UpstreamError as error:
            self.pools.errors.note(error.service, "", error.reason)
            raise
        self.has_place = self.waited = True

    async def prepare_resend(self) -> None:
        """Give the last connection back, wait, and take another address if there is one."""
        if self.response is not None:
            self.response.release()
            self.response = None
        if self.delay:
            await asyncio.sleep(self.delay)
        following = self.balancer.pick(self.failed)
        if following is None:
            self.failed = ()
            following = self.balancer.first()
        self.pool = following

    async def attempt(self) -> ServiceResponse:
        """Send the request to the first address that accepts a connection; return the response, ready or failed.

        Raises `ConnectError` if none does.
        """
        pool = self.pool
        # Other idle connections may be closed as well.
        connection = pool.acquire_idle(repeatable=self.repeatable) if self.tries == 0 else None
        request, began = self.request, self.tries == 0 and not self.waited
        while connection is None:
            try:
                connection = await self.connect(pool)
            except ConnectError as exc:
                began = False
                self.note_error(pool, exc.error, exc.more)
                pool = self.following(pool, exc)
            except UpstreamError as error:
                self.note_error(pool, error)
                raise
        if not began:
            request = replace(request, time_left=self.deadline - pool.loop.time())
        self.tries += 1
        self.response = response = connection.round_trip(request, self.deadline)
        await response.settled()
        return response

    async def connect(self, pool: Pool) -> ServiceConnection:
        """Return a new connection; raise `ConnectError`, or `UpstreamError` if no other address helps."""
        left = self.deadline - pool.loop.time()
        if left <= 0:
            raise UpstreamTimeout(self.request.service)
        return await pool.connect(min(self.request.timeouts.connect, left))

    def following(self, pool: Pool, exc: ConnectError) -> Pool:
        """Return the next address after one that accepts no connection; raise `exc` if there is no other."""
        self.failed += (pool,)
        following = self.balancer.pick(self.failed)
        if following is None:
            raise exc
        self.pool = following
        return following

    def must_resend(self, response: ServiceResponse) -> bool:
        """Return whether the request has to be sent once more; raise what failed."""
        pool, error = self.pool, response.error
        if error is None or not response.has_failed:
            self.address = pool.label
            pool.measurements.responded(pool.loop.time() - response.sent_at)
            if error is None and pool.ejection.watches:
                pool.ejection.responded(response.status)
            status = response.status
            if status < 500:
                return False
            pool.measurements.count(measurements.STATUS_ERRORS)
            self.note_try(pool, str(status))
            plan = self.plan
            if plan is None or status not in plan.retry.statuses:
                return False
            self.failed += (pool,)
            return self.may_retry(str(status), retry_after(response.headers))
        self.failed += (pool,)
        if isinstance(error, ClosedBeforeResponse) and error.was_idle and self.tries == 1 and self.can_repeat:
            self.delay = 0.0
            self.note_try(pool, "the idle connection was closed")
            return True
        cause = CAUSES.get(type(error), "")
        if isinstance(error, UpstreamError):
            self.note_error(pool, error)
        if cause and self.may_retry(cause):
            return True
        raise error

    @property
    def can_repeat(self) -> bool:
        """Whether the service may get the request twice, and all of it is still here."""
        return self.repeatable or (self.is_whole and self.request.has_idempotency_key)

    def may_retry(self, cause: str, not_before: float = 0.0) -> bool:
        """Decide whether the request is retried after this error, `not_before` seconds from now."""
        if self.plan is None:
            return False
        policy = self.plan.retry
        if cause not in policy.causes or self.tries >= policy.attempts:
            return False
        if cause != "connect" and not self.can_repeat:
            return False
        self.delay = max(not_before, backoff(self.tries))
        now = self.pools.loop.time()
        if now + self.delay >= self.deadline:
            return False
        service = self.request.service
        if not policy.budget.spend(now, policy.share):
            measurements.count(service, measurements.RETRIES_REJECTED)
            self.pools.errors.note(service, "", "fails, and its retry budget is used up", cause)
            return False
        measurements.count(service, measurements.RETRIES + cause)
        return True

    def note_error(self, pool: Pool, error: UpstreamError, more: str = "") -> None:
        """Log, and keep with the error, at which address the service failed."""
        self.address = error.address = pool.label
        self.note_try(pool, error.reason)
        error.tries = self.went_wrong
        self.pools.errors.note(pool.service, error.address, error.reason, more)

    def note_try(self, pool: Pool, what: str) -> None:
        seconds = self.pools.loop.time() - self.deadline + self.request.timeouts.total
        self.went_wrong += ((pool.label, what, seconds),)

    def end(self) -> None:
        if self.response is not None:
            self.response.release()
        self.leave()

    def leave(self) -> None:
        if self.has_place and self.plan is not None:
            self.has_place = False
            self.plan.bulkhead.leave()


async def forward(pools: Pools, request: UpstreamRequest) -> ServiceResponse:
    """Send a request of the gateway itself; return its response once it is ready. Raises `RequestRejected`.

    The caller releases the response.
    """
    forwarding = Forwarding(pools, request)
    try:
        return await forwarding.send()
    except BaseException:
        forwarding.end()
        raise
