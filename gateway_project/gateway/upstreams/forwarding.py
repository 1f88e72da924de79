"""A request's way to its service: which address, which connection, and when it is sent again."""

from collections.abc import Callable

from gateway.policy.rejections import UpstreamConnectError, UpstreamDisconnected, UpstreamError, UpstreamTimeout

from .pools import ConnectFailed, Pool, Pools
from .requests import UpstreamRequest
from .responses import ServiceResponse
from .service import ClosedBeforeResponse


class Forwarding:
    """One request's way. All that is tried shares one deadline."""

    __slots__ = ("address", "candidates", "deadline", "pools", "repeatable", "request")

    def __init__(self, pools: Pools, request: UpstreamRequest) -> None:
        self.pools = pools
        self.request = request
        # The service's addresses, in the order in which they are tried.
        self.candidates = pools.of(request.service)
        self.deadline = pools.loop.time() + request.timeouts.total
        # Before anything is sent: a body sent in pieces is complete in the end, and gone.
        self.repeatable = request.is_repeatable
        # The one that responded or failed, for the log.
        self.address: str | None = None

    def send_on_idle(self, notify: Callable[[], None]) -> ServiceResponse | None:
        """Send the request on an idle connection of the first address, if there is one; `notify` as `ServiceResponse`.

        Then `must_resend` judges the response.
        """
        connection = self.candidates[0].acquire_idle(repeatable=self.repeatable)
        return connection.round_trip(self.request, self.deadline, notify) if connection else None

    def must_resend(self, pool: Pool, response: ServiceResponse) -> bool:
        """Return whether the request has to be sent once more, on a new connection; raise what failed.

        An idle connection that the service had closed is no failure of the service.
        """
        failure = response.failure
        if failure is None or not response.has_failed:
            self.address = pool.address.authority
            return False
        if isinstance(failure, ClosedBeforeResponse):
            if self.repeatable:
                return True
            failure = UpstreamDisconnected(self.request.service)
        if isinstance(failure, UpstreamError):
            self.note_failure(pool, failure)
        raise failure

    async def send(self, *, resend: bool = False) -> ServiceResponse:
        """Send the request to the first address, or to the next one if that accepts no connection.

        With `resend`, an idle connection was tried already. Returns the response once it is ready; raises
        `RequestRejected`.
        """
        for pool in self.candidates:
            try:
                return await self.send_with_retry(pool, resend=resend)
            except ConnectFailed as exc:
                self.note_failure(pool, exc.rejection, exc.more)
                if pool is self.candidates[-1]:
                    raise exc.rejection from exc
            except UpstreamError as failure:
                if not failure.address:
                    self.note_failure(pool, failure)
                raise
            resend = False
        raise UpstreamConnectError(self.request.service)  # it has no address

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
                if not self.must_resend(pool, response):
                    return response
            except BaseException:
                response.release()
                raise
            response.release()
            connection = None

    def note_failure(self, pool: Pool, failure: UpstreamError, more: str = "") -> None:
        """Log, and keep with the failure, at which address the service failed."""
        self.address = failure.address = pool.address.authority
        self.pools.failures.note(pool.service, failure.address, failure.reason, more)


async def forward(pools: Pools, request: UpstreamRequest) -> ServiceResponse:
    """Send the request; return its response once it is ready. Raises `RequestRejected`."""
    return await Forwarding(pools, request).send()
