"""gunicorn's ASGI worker, with the gateway's event loop and connections.

It uses gunicorn's `worker_class`, `init_process` and signal handlers. The one method that it replaces without such a
seam is `_shutdown`: gunicorn's would wait for idle connections, and cut requests without a response.
"""

import asyncio
import math
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import uvloop
from gunicorn.workers import base, gasgi

from gateway.config import Config

from .client import ClientConnection

# Bytes of a response that the system takes from us and cannot send yet: what a client does not read costs no more. Its
# own default is megabytes for each connection.
NOT_SENT: Final = 128 * 1024


class Loop(uvloop.Loop):
    """An event loop whose servers have the gateway's connections, and the backlog of gunicorn's socket.

    gunicorn's worker passes its own protocol to `create_server`, and no backlog, for which uvloop takes 100.
    """

    def __init__(self, protocol: Callable[[], asyncio.Protocol], backlog: int) -> None:
        self.protocol = protocol
        self.backlog = backlog
        # gunicorn's, which starts the server and then looks once a second whether to stop.
        self.serving: asyncio.Task[None] | None = None

    async def create_server(self, *_: Any, **kwargs: Any) -> asyncio.Server:  # noqa: ANN401  # asyncio's
        server = await super().create_server(self.protocol, **kwargs | {"backlog": self.backlog})
        self.serving = asyncio.current_task()
        return cast("asyncio.Server", server)


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]  # gunicorn is not typed
    """A process of the gateway."""

    # Seconds of `graceful_timeout` that are not a request's own, and those of them for what is broken off at the end.
    ENDS_WITHIN: Final = 8
    BREAKS_OFF_WITHIN: Final = 4

    @classmethod
    def graceful_seconds(cls, config: Config) -> int:
        """Return the seconds for which a worker that is replaced or stopped may go on, before it is killed."""
        longest = max((each.timeouts.total for each in (*config.services.values(), *config.routes)), default=0.0)
        return math.ceil(longest) + cls.ENDS_WITHIN

    def init_process(self) -> None:
        self.connections: set[ClientConnection] = set()
        # Seconds for the next request. Read here once: each look into gunicorn's settings costs as much as a header
        # field.
        self.keepalive: float = self.cfg.keepalive
        self.scheme = "https" if self.cfg.is_ssl else "http"
        for listener in self.sockets:
            # Clients' connections inherit it.
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
        self.loop = Loop(lambda: ClientConnection(self), self.cfg.backlog)
        asyncio.set_event_loop(self.loop)
        # Not the ASGI worker's, which would make another loop.
        base.Worker.init_process(self)

    def handle_exit_signal(self) -> None:
        """Stop gracefully: take no more connections, and let those that are idle go before the others are awaited."""
        if self.alive and self.loop.serving:
            # gunicorn goes on to `_shutdown`, without waiting for its next look.
            self.loop.serving.cancel()
        super().handle_exit_signal()
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.stop_when_idle()

    async def _shutdown(self) -> None:
        """Let requests finish, break off what has not finished in time, and end."""
        self.log.info("Worker shutting down: %d connections", self.nr_conns)
        # Once more: where the master is gone there was no signal.
        self.alive = False
        self.handle_exit_signal()
        await self.finish(self.graceful_seconds(self.asgi.runtime.config) - self.BREAKS_OFF_WITHIN)
        if self._quick_shutdown:
            return
        if self.nr_conns:
            self.log.warning("Breaking off what runs on %d connections", self.nr_conns)
            self.asgi.runtime.upstreams.pools.break_off()
            await self.finish(1.0)
        await self.lifespan.shutdown()

    async def finish(self, within: float) -> None:
        """Return once no client is left, or so many seconds have gone by."""
        deadline = self.loop.time() + within
        while self.nr_conns and not self._quick_shutdown and self.loop.time() < deadline:
            self.notify()
            await asyncio.sleep(0.1)
