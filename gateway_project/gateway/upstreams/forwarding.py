"""A request's way to its service: which address, which connection, and when it is sent again."""

from collections.abc import Callable

from gateway.policy.rejections import UpstreamDisconnected, UpstreamError, UpstreamTimeout

from .balancing import Pools
from .pools import ConnectFailed, Pool
from .requests import UpstreamRequest
from .responses import ServiceResponse
from .service import ClosedBeforeResponse


class Forwarding:
    """One request's way. All that is tried shares one deadline."""

    __slots__ = ("address", "balancer", "deadline", "pool", "pools", "repeatable", "request")

    def __init__(self, pools: Pools, request: UpstreamRequest) -> None:
        self.pools = pools
        self.request = request
        self.balancer = balancer = pools.of(request.service)
        # The address that is tried.
        self.pool = balancer.only or balancer.first()
        self.deadline = pools.loop.time() + request.timeouts.total
        # Before anything is sent: a body sent in pieces is complete in the end, and gone.
        self.repeatable = request.is_repeatable
        # The one that responded or failed, for the log.
        self.address: str | None = None

    def send_on_idle(self, notify: Callable[[], None]) -> ServiceResponse | None:
        """Send the request on an idle connection of its address, if there is one; `notify` as `ServiceResponse`.

        Then `must_resend` judges the response.
        """
        connection = self.pool.acquire_idle(repeatable=self.repeatable)
        return connection.round_trip(self.request, self.deadline, notify) if connection else None

    def must_resend(self, response: ServiceResponse) -> bool:
        """Return whether the request has to be sent once more, on a new connection; raise what failed.

        An idle connection that the service had closed is no failure of the service.
        """
        pool, failure = self.pool, response.failure
        if failure is None or not response.has_failed:
            self.address = pool.label
            pool.measurements.responded(pool.loop.time() - response.sent_at)
            if failure is None and pool.ejection.watches:
                pool.ejection.responded(response.status)
            return False
        if isinstance(failure, ClosedBeforeResponse):
            if self.repeatable:
                return True
            failure = UpstreamDisconnected(self.request.service)
        if isinstance(failure, UpstreamError):
            self.note_failure(pool, failure)
        raise failure

    async def send(self, *, resend: bool = False) -> ServiceResponse:
        """Send the request to its address, or to another one if that accepts no connection.

        With `resend`, an idle connection was tried already. Returns the response once it is ready; raises
        `RequestRejected`.
        """
        tried: list[Pool] = []
        while True:
            pool = self.pool
            try:
                return await self.send_with_retry(pool, resend=resend)
            except ConnectFailed as exc:
                self.note_failure(pool, exc.rejection, exc.more)
                tried.append(pool)
                following = self.balancer.pick(tried)
                if following is None:
                    raise exc.rejection from exc
                self.pool = following
            except UpstreamError as failure:
                if not failure.address:
                    self.note_failure(pool, failure)
                raise
            resend = False

    async def send_with_retry(self, pool: Pool, *, resend: bool) -> ServiceResponse:
        """Return the ready response of one address, from an idle connection or a new one."""
        connection = None if resend else pool.acquire_idle(repeatable=self.repeatable)
        while True:
            if connection is None:
                left = self.deadline - pool.loop.time()
                if left <= 0:
                    raise UpstreamTimeout(self.request.service)
                connection = await pool.connect(min(self.request.timeouts.connect, left))
            response = connection.round_trip(self.request, self.deadline)
            try:
                await response.settled()
                if not self.must_resend(response):
                    return response
            except BaseException:
                response.release()
                raise
            response.release()
            connection = None

    def note_failure(self, pool: Pool, failure: UpstreamError, more: str = "") -> None:
        """Log, and keep with the failure, at which address the service failed."""
        self.address = failure.address = pool.label
        self.pools.failures.note(pool.service, failure.address, failure.reason, more)


async def forward(pools: Pools, request: UpstreamRequest) -> ServiceResponse:
    """Send the request; return its response once it is ready. Raises `RequestRejected`."""
    return await Forwarding(pools, request).send()
