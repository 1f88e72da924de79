"""gunicorn's ASGI worker, serving clients with connections of our own."""

import asyncio
import socket
from typing import Any, Final, cast

import uvloop
from gunicorn.workers import gasgi

from .server import ClientConnection

# Bytes of a response that the system takes from us and cannot send yet: what a client does not read costs no more. Its
# own default is megabytes for each connection.
NOT_SENT: Final = 128 * 1024


class Loop(uvloop.Loop):
    """An event loop whose servers keep the backlog of gunicorn's socket: uvloop would cut it to 100."""

    backlog = 2048

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:  # noqa: ANN401  # asyncio's
        """Start a server."""
        return cast("asyncio.Server", await super().create_server(*args, **kwargs | {"backlog": self.backlog}))


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]  # gunicorn is not typed
    """A process of the gateway."""

    def init_process(self) -> None:
        """Serve with `ClientConnection`: gunicorn's worker has its own in the module and offers no other way."""
        gasgi.ASGIProtocol = ClientConnection
        self.connections: set[ClientConnection] = set()
        # Seconds for the next request. Read here once: each look into gunicorn's settings costs as much as a header
        # field.
        self.keepalive: float = self.cfg.keepalive
        self.scheme = "https" if self.cfg.is_ssl else "http"
        for listener in self.sockets:
            # Clients' connections inherit it.
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
        super().init_process()

    def _setup_event_loop(self) -> None:
        self.loop = Loop()
        self.loop.backlog = self.cfg.backlog
        asyncio.set_event_loop(self.loop)

    def handle_exit_signal(self) -> None:
        """Stop gracefully: take no more connections, and let those that are idle go before the others are awaited."""
        super().handle_exit_signal()
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.stop_when_idle()
