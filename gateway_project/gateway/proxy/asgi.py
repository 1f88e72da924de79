"""An exchange as Django's side of the gateway has it: ASGI's scope, `receive` and `send`."""

from typing import TYPE_CHECKING

from gateway.upstreams import encode_headers

from .client import address_of
from .requests import BodyBuffer
from .wsgi import Message

if TYPE_CHECKING:
    from .exchange import Exchange


def scope(exchange: "Exchange") -> Message:
    """Return the request."""
    message, connection = exchange.message, exchange.connection
    path, _, query = message.target.partition(b"?")
    return {
        "type": "http",
        "http_version": exchange.request.version,
        "method": message.method,
        "scheme": exchange.request.scheme,
        "raw_path": path,
        "query_string": query,
        "headers": message.fields,
        "client": connection.peer,
        "server": address_of(connection.transport, "sockname"),
        "gatehouse.client": connection,
    }


async def receive(exchange: "Exchange", body: BodyBuffer) -> Message:
    """Return a piece of the body, or that the client was too slow."""
    connection = exchange.connection
    if not (body.chunks or body.is_complete or body.timed_out):
        await connection.wait_for_body(body)
    if body.timed_out:
        return {"type": "http.disconnect"}
    piece = body.take()
    connection.read_more()
    return {"type": "http.request", "body": piece, "more_body": not body.is_complete}


async def send(exchange: "Exchange", message: Message) -> None:
    """Send a response's head or a piece of its body, no faster than the client takes it."""
    connection, writer = exchange.connection, exchange.writer
    if connection.closed or connection.lingering:
        return
    if message["type"] == "http.response.start":
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        # With Django's own request id.
        exchange.begin(message["status"], encode_headers(message["status"], headers), None)
        return
    connection.write(writer, message.get("body", b""), more=message.get("more_body", False))
    if connection.writable:
        await connection.wait_for_client(writer)
