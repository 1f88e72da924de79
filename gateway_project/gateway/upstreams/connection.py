"""One TCP connection, to a client or to a service: bytes, flow control and a deadline."""

import asyncio
from typing import Protocol, cast

from gateway.deadlines import Deadline


class Joined(Protocol):
    """Joins two connections: each one's bytes go to the other (`gateway.proxy.tunnels`)."""

    def forward(self, source: "Connection", data: bytes) -> None:
        """Write what one connection received to the other."""

    def throttle(self, sink: "Connection", full: bool) -> None:
        """Read from the other connection only while this one takes what is written to it."""

    def end(self) -> None:
        """Close both."""

    def close(self) -> None:
        """Close both in good order: the worker stops."""


class Connection(asyncio.Protocol):
    """A connection. Subclasses parse what is received; `tunnel` replaces that once it is a WebSocket."""

    __slots__ = ("closed", "deadline", "loop", "reading", "transport", "tunnel", "writable")

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Passed in: to find the running loop, asyncio asks the system for the process's id.
        self.loop = loop
        self.deadline = Deadline(loop, self.on_timeout)
        self.tunnel: Joined | None = None
        # Pending while the peer takes less than is written.
        self.writable: asyncio.Future[None] | None = None
        self.reading = True
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.deadline.close()
        self.resume_writing()
        if self.tunnel:
            self.tunnel.end()

    def pause_writing(self) -> None:
        self.writable = self.writable or self.loop.create_future()
        if self.tunnel:
            self.tunnel.throttle(self, True)

    def resume_writing(self) -> None:
        if self.writable:
            self.writable.set_result(None)
            self.writable = None
        if self.tunnel:
            self.tunnel.throttle(self, False)

    async def drain(self) -> None:
        while self.writable:
            await asyncio.shield(self.writable)

    def read(self, on: bool) -> None:
        if on is not self.reading and not self.transport.is_closing():
            self.reading = on
            self.transport.resume_reading() if on else self.transport.pause_reading()

    def on_timeout(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Close the connection at once and discard what is not sent yet."""
        self.transport.abort()
