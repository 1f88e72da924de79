"""The connections to one address of a service."""

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from functools import cache
from typing import Final

from gateway.config import TLS
from gateway.policy.rejections import GatewayStopped, UpstreamConnectError, UpstreamOverloaded, UpstreamTimeout

from .addresses import Address
from .ejection import Ejection, State
from .errors import cause_of, is_refused
from .heads import ResponseMemo
from .measurements import Measurements
from .service import ServiceConnection

# Connections to one address, in use and idle. Further requests are rejected.
MAX_CONNECTIONS: Final = 4096
# Idle connections that are kept to one address.
MAX_IDLE: Final = 256


class ConnectError(Exception):
    """No connection could be made, so nothing was sent. `error` is the response if there is no other address.

    `more` are details for the log.
    """

    def __init__(self, error: UpstreamConnectError | UpstreamTimeout, more: str = "") -> None:
        super().__init__(error.detail)
        self.error = error
        self.more = more


@cache
def tls(policy: TLS) -> ssl.SSLContext:
    """Return how https connections are verified, for all pools of one policy."""
    return policy.context()


class Pool:
    """The connections to one address. The one used last is used first, so that those not needed grow old and close."""

    # What is known of the address; set by its balancer.
    ejection: Ejection

    def __init__(
        self,
        service: str,
        address: Address,
        loop: asyncio.AbstractEventLoop,
        weight: float = 1.0,
        *,
        tls: TLS | None = None,
        ip: str | None = None,
        label: str | None = None,
    ) -> None:
        self.service = service
        self.loop = loop
        self.address = address
        self.tls = tls or TLS()
        # One of the addresses of its name; `None` if the name is not resolved yet, or is no name.
        self.ip = ip
        self.label = address.label(ip)
        self.measurements = Measurements(self, (label or self.label) + address.base)
        # Whether its name has it no more.
        self.is_retired = False
        self.idle: deque[ServiceConnection] = deque()
        self.live: set[ServiceConnection] = set()
        self.connecting = 0
        self.memo = ResponseMemo()
        # By how much it is preferred now, and once it is healthy for a while.
        self.weight = self.full_weight = weight
        # Its account in the turns of equally busy addresses.
        self.turn = 0.0

    @property
    def is_healthy(self) -> bool:
        return self.ejection.state is State.HEALTHY

    @property
    def in_flight(self) -> int:
        """How many requests it has, those that wait for a connection included. A WebSocket counts while it is open."""
        return len(self.live) - len(self.idle) + self.connecting

    def acquire_idle(self, *, repeatable: bool) -> ServiceConnection | None:
        while self.idle:
            connection = self.idle.pop()
            if connection.is_usable(repeatable=repeatable):
                return connection
            connection.abort()
        return None

    async def connect(self, within: float) -> ServiceConnection:
        """Return a new connection; raise `ConnectError` after `within` seconds, or `UpstreamOverloaded`."""
        if len(self.live) + self.connecting >= MAX_CONNECTIONS:
            raise UpstreamOverloaded(self.service)
        self.connecting += 1
        try:
            async with asyncio.timeout(within):
                _, connection = await self.loop.create_connection(
                    lambda: ServiceConnection(self),
                    self.ip or self.address.host,
                    self.address.port,
                    ssl=tls(self.tls) if self.address.secure else None,
                    server_hostname=(self.tls.server_name or self.address.host) if self.address.secure else None,
                )
        except TimeoutError as exc:
            self.ejection.connect_failed(refused=False)
            raise ConnectError(UpstreamTimeout(self.service, cause="no connection could be made")) from exc
        except OSError as exc:
            self.ejection.connect_failed(refused=is_refused(exc))
            cause, more = cause_of(exc)
            raise ConnectError(UpstreamConnectError(self.service, cause=cause), more) from exc
        finally:
            self.connecting -= 1
        if self.ejection.refuses:
            self.ejection.accepted()
        return connection

    def forget(self, connection: ServiceConnection) -> None:
        self.live.discard(connection)
        if connection.response is None:
            with suppress(ValueError):
                self.idle.remove(connection)

    def keep(self, connection: ServiceConnection) -> None:
        if self.is_retired:
            connection.abort()
            return
        self.idle.append(connection)
        if len(self.idle) > MAX_IDLE:
            self.idle.popleft().abort()

    def close_idle(self) -> None:
        while self.idle:
            self.idle.pop().abort()

    def retire(self) -> None:
        """Let requests in flight end, and close the other connections."""
        self.is_retired = True
        self.ejection.close()
        self.measurements.close()
        self.close_idle()

    def break_off(self) -> None:
        """End every exchange with an error of the gateway's own."""
        for connection in list(self.live):
            connection.fail(GatewayStopped(self.service))

    def close(self) -> None:
        self.ejection.close()
        self.measurements.close()
        self.idle.clear()
        for connection in list(self.live):
            connection.abort()
