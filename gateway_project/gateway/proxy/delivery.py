"""What a client gets of a service's response beside the usual: other headers, a stream, a WebSocket."""

import logging
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.admission import Decision
from gateway.gate import Gate
from gateway.policy import codings
from gateway.policy.headers import for_client
from gateway.policy.rejections import UpstreamError
from gateway.upstreams import Connection, HeaderBlock, ResponseHead, ServiceResponse, encode_by

from .tunnels import Tunnel
from .writer import ResponseWriter

if TYPE_CHECKING:
    from .exchange import Exchange

log = logging.getLogger(__name__)

SWITCHING: Final = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"


def public_block(gate: Gate, decision: Decision, head: ResponseHead) -> HeaderBlock:
    """Return the encoded headers of a response that names its service's locations. Raises `UpstreamRedirects`."""
    headers = gate.public_headers(decision, head.status, head.headers)
    return encode_by(decision.grant.view, head.status, headers, bodiless=head.bodiless)


def compress(
    exchange: "Exchange", response: ServiceResponse, block: HeaderBlock, coding: str, more: bytes
) -> Coroutine[Any, Any, None] | None:
    """Send the response on in a content coding, at once if its length is known and small; `more` as for `begin`."""
    exchange.note(response.status)
    if response.is_streamed:
        writer = exchange.begin(response.status, block, exchange.request.request_id, more)
        return stream(exchange, response, writer, coding)
    content = codings.compressed(coding, response.take())
    writer = exchange.begin(response.status, block.with_length(len(content)), exchange.request.request_id, more)
    exchange.connection.write(writer, content, more=False)
    return None


async def stream(
    exchange: "Exchange", response: ServiceResponse, writer: ResponseWriter, coding: str | None = None
) -> None:
    connection, next_piece = exchange.connection, response.piece
    if coding is not None:
        next_piece = partial(anext, codings.compressed_stream(coding, response.piece), b"")
    if not response.chunks:
        # The first piece may take long, as the first of server-sent events.
        connection.transport.write(writer.take_head())
    try:
        while piece := await next_piece():
            connection.write(writer, piece, more=True)
            if connection.writable:
                await connection.wait_for_client(writer)
        connection.write(writer, b"", more=False)
    except UpstreamError as exc:
        # The head is sent. The connection is closed, so that the client sees that the response is incomplete.
        address = exchange.forwarding.address if exchange.forwarding else None
        log.warning("A response was cut off: %s (%s)", exc.detail, address)


async def join(exchange: "Exchange", response: ServiceResponse, decision: Decision) -> None:
    """Connect the WebSocket's two ends until one closes."""
    service = cast("Connection", response.connection)
    limits = decision.standing.headers() if decision.standing else []
    headers = [*for_client(response.headers), *limits]
    if decision.match.policies is not None:
        headers = decision.match.policies.with_deprecation(headers, decision.match.params)
    head = "".join(f"{name}: {value}\r\n" for name, value in [*headers, ("x-request-id", exchange.request.request_id)])
    tunnel = Tunnel(exchange.connection, service, decision.identity)
    exchange.connection.take_over(f"{SWITCHING}{head}\r\n".encode("latin-1"), tunnel)
    if response.rest:
        tunnel.forward(service, response.rest)
    await exchange.proxy.tunnels.keep(tunnel)
