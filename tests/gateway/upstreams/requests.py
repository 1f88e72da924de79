"""Requests to a service, and what forwarding one returns."""

import asyncio
from collections.abc import Iterable, MutableMapping
from typing import Any

from tests.gateway.upstreams.origin import body_of

from gateway.config import Timeouts
from gateway.upstreams import Body, Pools, Receive, UpstreamRequest, forward

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DISCONNECT = {"type": "http.disconnect"}


def receive_pieces(*pieces: bytes, then: MutableMapping[str, Any] | None = None) -> Receive:
    """Return a `receive` that gives the body in these pieces, then the message `then`, if given."""
    left = list(pieces)

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(0)
        if not left:
            assert then is not None, "asked for more than the whole"
            return then
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or then is not None}

    return receive


def upstream_request(
    method: str = "GET", body: Body | None = None, *, headers: Iterable[tuple[str, str]] = (), **timeouts: float
) -> UpstreamRequest:
    """Return a request to the service."""
    return UpstreamRequest(
        "things", method, "/a?b=c", list(headers), body or Body.of(b""), Timeouts.model_construct(**timeouts)
    )


async def status_and_body(pools: Pools, request: UpstreamRequest) -> tuple[int, bytes]:
    """Return the response's status and body; its connection is released."""
    response = await forward(pools, request)
    try:
        return response.status, await body_of(response)
    finally:
        response.release()
