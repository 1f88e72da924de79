"""The gateway's own requests to services, on the event loop: for health and OpenAPI documents.

Concurrent requests, and those soon after, share one response; a client that leaves ends nothing and costs nothing.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from gateway.config import Timeouts
from gateway.policy.rejections import UpstreamProtocolError

from .balancing import Pools
from .forwarding import forward
from .requests import NO_BODY, UpstreamRequest

T = TypeVar("T")

# Bytes of a response to the gateway itself.
MAX_RESPONSE: Final = 16 * 1024 * 1024


class Fetched(NamedTuple):
    status: int
    content: bytes


async def fetch(
    pools: Pools, service: str, target: str, *, timeouts: Timeouts, headers: Sequence[tuple[str, str]] = ()
) -> Fetched:
    response = await forward(pools, UpstreamRequest(service, "GET", target, list(headers), NO_BODY, timeouts))
    try:
        pieces, size = [], 0
        while piece := await response.piece():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_RESPONSE:
                raise UpstreamProtocolError(service)
        return Fetched(response.status, b"".join(pieces))
    finally:
        response.release()


class SingleFlight(Generic[T]):
    """Asks at most once at a time. The result is shared by all callers until `fresh` seconds after."""

    def __init__(self, ask: Callable[[], Awaitable[T]], *, fresh: float) -> None:
        self.ask = ask
        self.fresh = fresh
        self.flight: asyncio.Task[T] | None = None
        self.stale_at = 0.0

    async def get(self) -> T:
        loop = asyncio.get_running_loop()
        if self.flight is None or (self.flight.done() and loop.time() >= self.stale_at):
            # In an empty context: its log lines belong to no single request.
            self.flight = loop.create_task(self.run(), context=contextvars.Context())
        # Shielded: the others go on waiting when a client leaves.
        return await asyncio.shield(self.flight)

    async def run(self) -> T:
        try:
            return await self.ask()
        finally:
            self.stale_at = asyncio.get_running_loop().time() + self.fresh
