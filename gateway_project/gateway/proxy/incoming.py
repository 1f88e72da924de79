"""A client's request as `gate` takes it, and its body."""

from functools import partial
from typing import TYPE_CHECKING, Final

from chassis import logs
from gateway.admission import Request
from gateway.gate import Gate
from gateway.policy.paths import parse_target
from gateway.upstreams import Body

from .client import ClientConnection
from .environ import Message
from .messages import BodyBuffer, RequestMessage

if TYPE_CHECKING:
    from .exchange import Exchange

# Logged and counted if the client left before there was a response; nginx's number for it.
CLIENT_LEFT: Final = 499


def parse_request(connection: ClientConnection, message: RequestMessage, gate: Gate) -> Request:
    known = message.known
    if known is not None and known.headers is not None and known.headers.gate is gate:
        headers = known.headers
    else:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.fields]
        headers = gate.read_headers(pairs, connection.address)
        if known is not None:
            known.headers = headers
    raw_path, _, query = message.target.decode("latin-1").partition("?")
    path, target_scheme, authority = (raw_path, None, None) if raw_path[:1] == "/" else parse_target(raw_path)
    request_id = logs.request_id_from(headers.request_id)
    return Request(
        message.method,
        path,
        query,
        headers.host if authority is None else authority,
        headers,
        connection.worker.scheme,
        request_id,
        headers.traceparent(request_id),
        "1.1" if message.http_1_1 else "1.0",
        target_scheme,
    )


def body_of(exchange: "Exchange", received: BodyBuffer, most: int) -> Body:
    receive = partial(receive_piece, exchange.connection, received)
    return Body(receive, received.length, most, exchange.proxy.memory, received.time_out)


async def receive_body(exchange: "Exchange", received: BodyBuffer, most: int) -> Body:
    """Return the body once it is received, or of a larger one the beginning; raise `RequestRejected`."""
    exchange.body = body_of(exchange, received, most)
    await exchange.body.begin()
    return exchange.body


async def receive_piece(connection: ClientConnection, body: BodyBuffer) -> Message:
    """Return a piece of the body, or that the client was too slow (ASGI)."""
    if not (body.chunks or body.is_complete or body.timed_out):
        await connection.wait_for_body(body)
    if body.timed_out:
        return {"type": "http.disconnect"}
    piece = body.take()
    connection.read_more()
    return {"type": "http.request", "body": piece, "more_body": not body.is_complete}
