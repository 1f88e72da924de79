"""What the fast door does not forward: the gateway's own paths, and what Django responds to, by way of ASGI."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from django.conf import settings

from chassis.security import HSTS
from gateway.bodies import MAX_UPLOAD
from gateway.policy.rejections import ContentTooLarge
from gateway.upstreams import Body, encode_headers

from .client import address_of
from .environ import Message
from .incoming import CLIENT_LEFT, body_of

if TYPE_CHECKING:
    from .application import Application
    from .exchange import Exchange
    from .writer import ResponseWriter


async def respond_for_own_path(exchange: "Exchange") -> None:
    """Respond for one of the gateway's own paths: here, or in a thread of Django's."""
    request, proxy = exchange.request, exchange.proxy
    path = request.path if request.path in proxy.own else unquote(request.path)
    endpoint = proxy.own.get(path) if request.method in {"GET", "HEAD"} else None
    if endpoint is not None:
        try:
            own = await endpoint()
        except asyncio.CancelledError:
            exchange.note(CLIENT_LEFT)
            raise
        if own is not None:
            exchange.label = path
            status, pairs, content = own
            if proxy.gate.is_https(request):
                pairs = [*pairs, ("Strict-Transport-Security", HSTS)]
            exchange.respond(status, pairs, content)
            return
    # A page's form may have files.
    most = MAX_UPLOAD if path.startswith("/gateway/send/") else settings.MAX_BODY
    await hand_over(exchange, proxy.django, most)


async def hand_over(exchange: "Exchange", django: "Application", most: int | None = None) -> None:
    """Let Django respond. With `most`, a thread gets the request once its body, up to so many bytes, is here."""
    received = exchange.message.body
    if received is None:
        exchange.body = Body.of(b"")
    else:
        limit = exchange.match.route.max_body if exchange.match else settings.MAX_BODY
        exchange.body = body_of(exchange, received, limit if most is None else most)
        if most is not None:
            # Django responds to a body that is too large, or to what else is wrong with the request.
            with suppress(ContentTooLarge):
                await exchange.body.begin()
    await django(scope(exchange), exchange.body.replay, partial(send, exchange))


def scope(exchange: "Exchange") -> Message:
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


async def send(exchange: "Exchange", message: Message) -> None:
    """Send a response's head or a piece of its body, no faster than the client takes it."""
    connection = exchange.connection
    if connection.closed or connection.lingering:
        return
    if message["type"] == "http.response.start":
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        # With Django's own request id.
        exchange.begin(message["status"], encode_headers(message["status"], headers), None)
        return
    writer = cast("ResponseWriter", exchange.writer)
    connection.write(writer, message.get("body", b""), more=message.get("more_body", False))
    if connection.writable:
        await connection.wait_for_client(writer)
