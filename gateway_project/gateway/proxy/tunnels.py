"""WebSockets: once the service has taken up the handshake, bytes go both ways as they come, and nothing reads them."""

import asyncio
from contextlib import suppress
from typing import Final

from gateway.identity.revocations import revocations
from gateway.policy.access import Identity
from gateway.policy.headers import Headers, values
from gateway.upstreams import Connection

# Seconds between two looks at whose session has ended.
INTERVAL: Final = 1.0
# Seconds that what is on its way has, when a tunnel ends.
LINGER: Final = 1.0


def is_handshake(pairs: Headers) -> bool:
    """Return whether the headers of a GET ask for a WebSocket (RFC 6455, section 4.1)."""
    upgrade = ",".join(values(pairs, "upgrade")).lower()
    options = {option.strip(" \t") for option in ",".join(values(pairs, "connection")).lower().split(",")}
    return upgrade == "websocket" and "upgrade" in options


class Tunnel:
    """A client's connection and a service's, joined. The slower of the two sets the pace of both directions."""

    def __init__(self, client: asyncio.Transport, connection: Connection, identity: Identity | None) -> None:
        self.client = client
        self.connection = connection
        self.identity = identity
        self.loop = connection.loop
        self.ended: asyncio.Future[None] = self.loop.create_future()
        connection.tunnel = self

    def feed_data(self, data: bytes) -> None:
        """Pass on what the client says."""
        self.connection.transport.write(data)

    def feed_eof(self) -> None:
        """End: the client has left."""
        self.end()

    def client_is_full(self, full: bool) -> None:
        """Read from the service no faster than the client takes it."""
        with suppress(RuntimeError):  # it is closing
            self.connection.transport.pause_reading() if full else self.connection.transport.resume_reading()

    def service_says(self, data: bytes) -> None:
        """Pass on what the service says."""
        self.client.write(data)

    def service_is_full(self, full: bool) -> None:
        """Read from the client no faster than the service takes it."""
        with suppress(RuntimeError):
            self.client.pause_reading() if full else self.client.resume_reading()

    def end(self) -> None:
        """Part the two; what is on its way to either still arrives, if it arrives soon."""
        if self.ended.done():
            return
        self.ended.set_result(None)
        for side in self.connection.transport, self.client:
            side.close()
            # One that takes nothing would never be through with what is on its way to it.
            self.loop.call_later(LINGER, side.abort)


class Tunnels:
    """All open tunnels of the process, and a look every second at whose sessions have ended."""

    def __init__(self) -> None:
        self.open: set[Tunnel] = set()
        self.looking: asyncio.TimerHandle | None = None

    async def keep(self, tunnel: Tunnel) -> None:
        """Return when the tunnel has ended."""
        self.open.add(tunnel)
        if self.looking is None:
            self.looking = asyncio.get_running_loop().call_later(INTERVAL, self.look)
        try:
            # Shielded: cancelled with this, it would look as if the two had been parted.
            await asyncio.shield(tunnel.ended)
        finally:
            self.open.discard(tunnel)
            tunnel.end()

    def look(self) -> None:
        """End the tunnels of sessions that have ended."""
        for tunnel in [each for each in self.open if each.identity]:
            if tunnel.identity and revocations().is_ended(tunnel.identity.session):
                tunnel.end()
        self.looking = asyncio.get_running_loop().call_later(INTERVAL, self.look) if self.open else None
