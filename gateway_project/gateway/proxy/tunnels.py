"""WebSockets: once the service has taken up the handshake, bytes go both ways as they come, and nothing reads them.

Only where each frame ends is followed, so that a worker that stops can put a close frame between two of them.
"""

import asyncio
import os
from typing import Final

from gateway.identity.revocations import Revocations
from gateway.policy.access import Identity
from gateway.policy.headers import Headers, values
from gateway.upstreams import Connection

# Seconds between two looks at whose session has ended.
INTERVAL: Final = 1.0
# Seconds for bytes in flight when a tunnel ends.
LINGER: Final = 1.0
# The close code when the worker stops: Service Restart (RFC 6455, section 7.4; IANA's registry).
RESTART: Final = 1012


def is_handshake(pairs: Headers) -> bool:
    """Return whether the headers of a GET ask for a WebSocket (RFC 6455, section 4.1)."""
    upgrade = ",".join(values(pairs, "upgrade")).lower()
    options = {option.strip(" \t") for option in ",".join(values(pairs, "connection")).lower().split(",")}
    return upgrade == "websocket" and "upgrade" in options


def close_frame(code: int, *, masked: bool) -> bytes:
    """Return a close frame; what a client sends is masked (RFC 6455, sections 5.3 and 5.5.1)."""
    payload = code.to_bytes(2, "big")
    if not masked:
        return b"\x88\x02" + payload
    mask = os.urandom(4)
    return b"\x88\x82" + mask + bytes(byte ^ key for byte, key in zip(payload, mask, strict=False))


def frame_size(data: bytes, start: int) -> int | None:
    """Return the size of the frame that begins at `start`, `None` while it is unknown (RFC 6455, section 5.2)."""
    if len(data) < start + 2:
        return None
    length = data[start + 1] & 127
    head = 6 if data[start + 1] & 128 else 2
    if length >= 126:
        width = 2 if length == 126 else 8
        if len(data) < start + 2 + width:
            return None
        length = int.from_bytes(data[start + 2 : start + 2 + width], "big")
        head += width
    return head + length


class Direction:
    """What one side says, on its way to the other; it follows where frames end, and keeps none of them."""

    __slots__ = ("close_frame", "closed", "partial", "remaining", "sink")

    def __init__(self, sink: asyncio.Transport) -> None:
        self.sink = sink
        # Bytes of the frame under way that are still to come; what has come of one whose size is not known yet.
        self.remaining = 0
        self.partial = b""
        # What goes out after the frame under way, and whether it has: nothing may follow it.
        self.close_frame = b""
        self.closed = False

    def forward(self, data: bytes) -> None:
        """Write it, up to a close frame that waits for the end of a frame."""
        if self.closed:
            return
        if self.close_frame:
            data = data[: self.follow(data, only_one=True)]
        else:
            self.follow(data)
        self.sink.write(data)
        self.close_between_frames()

    def follow(self, data: bytes, *, only_one: bool = False) -> int:
        """Find out where the last frame ends, or the one under way; return how many bytes were looked at."""
        known = len(self.partial)
        data = self.partial + data if known else data
        position, end = self.remaining, len(data)
        self.remaining, self.partial = 0, b""
        while position < end and not (only_one and position):
            size = frame_size(data, position)
            if size is None:
                self.partial = data[position:]
                return end - known
            position += size
        self.remaining = max(0, position - end)
        return min(position, end) - known

    def close(self, frame: bytes) -> None:
        """Send a close frame after the frame under way, and nothing more."""
        self.close_frame = frame
        self.close_between_frames()

    def close_between_frames(self) -> None:
        """Send the close frame, if there is one to be sent and no frame is under way."""
        if self.close_frame and not (self.closed or self.remaining or self.partial):
            self.closed = True
            self.sink.write(self.close_frame)


class Tunnel:
    """A client's connection and a service's, joined. The slower of the two sets the pace of both directions."""

    def __init__(self, client: Connection, service: Connection, identity: Identity | None) -> None:
        self.client = client
        self.service = service
        self.identity = identity
        self.loop = client.loop
        self.to_client = Direction(client.transport)
        self.to_service = Direction(service.transport)
        self.ended: asyncio.Future[None] = self.loop.create_future()
        client.tunnel = service.tunnel = self

    def forward(self, source: Connection, data: bytes) -> None:
        (self.to_service if source is self.client else self.to_client).forward(data)

    def throttle(self, sink: Connection, full: bool) -> None:
        """Read from the other side no faster than this one takes it."""
        (self.service if sink is self.client else self.client).read(not full)

    def close(self) -> None:
        """Send both sides a close frame: the worker stops. A frame under way has until `LINGER` to end."""
        if self.ended.done() or self.to_client.close_frame:
            return
        self.to_client.close(close_frame(RESTART, masked=False))
        self.to_service.close(close_frame(RESTART, masked=True))
        self.loop.call_later(LINGER, self.end)

    def end(self) -> None:
        """Close both sides; what is on its way to either still arrives, if it arrives soon."""
        if self.ended.done():
            return
        self.ended.set_result(None)
        for side in self.service.transport, self.client.transport:
            side.close()
            # One that takes nothing would never finish with what is on its way to it.
            self.loop.call_later(LINGER, side.abort)


class Tunnels:
    """All open tunnels of the process, and a look every second at whose sessions have ended."""

    def __init__(self, revocations: Revocations) -> None:
        self.revocations = revocations
        self.open: set[Tunnel] = set()
        self.looking: asyncio.TimerHandle | None = None

    async def keep(self, tunnel: Tunnel) -> None:
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
            if tunnel.identity and self.revocations.is_ended(tunnel.identity.session):
                tunnel.end()
        self.looking = asyncio.get_running_loop().call_later(INTERVAL, self.look) if self.open else None
