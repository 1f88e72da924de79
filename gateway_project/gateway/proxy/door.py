"""The fast door: one request of a program's, from its head to the last byte of its answer.

`Exchange.run` reads like the list of a request's steps; what is no program's request for a route is Django's.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote

from django.conf import settings

from chassis import logs, problems
from gateway import metrics
from gateway.gate import Decision, Gate, Request, RequestHeaders
from gateway.memory import Memory
from gateway.policy import headers as header_policy
from gateway.policy.access import Identity
from gateway.policy.headers import Headers
from gateway.policy.paths import parse_target
from gateway.policy.rejections import BadRequest, ContentTooLarge, RequestRejected, RouteNotFound, UpstreamError
from gateway.policy.routes import Match
from gateway.upstreams import Body, Connection, Outgoing, Pool, Pools, Receive, forward

from .access_log import AccessLog
from .tunnels import Tunnel, Tunnels, is_handshake
from .wsgi import Message, Send

log = logging.getLogger(__name__)

Application = Callable[[Message, Receive, Send], Awaitable[None]]
# Answers a GET of one of the gateway's own paths: status, headers, content; `None` once Django can without waiting.
Endpoint = Callable[[], Awaitable[tuple[int, Headers, bytes] | None]]

# What is logged and counted where the client left before there was an answer; nginx's number for it.
CLIENT_LEFT: Final = 499
SWITCHING: Final = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
# Of a Content-Length; `int` refuses thousands.
MAX_DIGITS: Final = 18


class Client(Protocol):
    """What the gateway's own server can do with a client's connection that ASGI has no message for.

    `heard` is what its last request's headers meant: the next one's are often the same.
    """

    heard: "ASGIRequestHeaders | None"

    def give_up_body(self) -> None:
        """Wait no more for the request's body."""

    def flush(self) -> None:
        """Send the answer's head before there is any of its body."""

    def take_over(self, head: bytes, tunnel_of: Callable[[asyncio.Transport], Tunnel]) -> Tunnel:
        """Send the head, and let all that the client sends from here on go to the tunnel."""


class FastProxy:
    """Answers programs' requests for routes, and the paths of `own`; `pages` answers persons', `django` the rest."""

    def __init__(
        self,
        gate: Gate,
        pools: Pools,
        django: Application,
        pages: Application,
        own: Mapping[str, Endpoint] | None = None,
        *,
        memory: Memory | None = None,
    ) -> None:
        self.own = own or {}
        self.memory = memory or Memory()
        self.gate = gate
        self.pools = pools
        self.django = django
        self.pages = pages
        self.tunnels = Tunnels(gate.authentication.revocations)
        self.access_log = AccessLog(pools.loop)
        self.tally = metrics.Tally(pools.loop)

    def close(self) -> None:
        """Write what is still to be logged and counted."""
        self.access_log.flush()
        self.tally.hand_on()

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(self, scope, receive, send)
        try:
            await exchange.run()
        except Exception:
            # A fault of ours. Nothing of it goes out but the id under which the log has it.
            log.exception("%s %s failed", exchange.request.method, exchange.request.path)
            if exchange.answered:
                raise
            await exchange.respond(500, *problem(exchange.instance, 500, FAILED))
        finally:
            if exchange.body.holding:
                exchange.body.release()


NO_BODY: Final = Body.of(b"")
FAILED: Final = "Something went wrong here. The log has it under this request_id."


class Exchange:
    """One request, and its answer."""

    __slots__ = (
        "address", "answered", "body", "client", "door", "identity", "label", "match", "receive", "request", "scope",
        "send", "started",
    )  # fmt: skip

    def __init__(self, door: FastProxy, scope: Message, receive: Receive, send: Send) -> None:
        self.started = time.perf_counter()
        self.door = door
        self.scope = scope
        self.receive = receive
        self.send = send
        # The server's side of the connection, where the server is ours.
        self.client: Client | None = scope.get("gatehouse.client")
        self.match: Match | None = None
        # What a request without a route is counted under.
        self.label = "none"
        self.identity: Identity | None = None
        # Of the service, once it was asked.
        self.address: str | None = None
        self.answered = False
        self.body = NO_BODY
        self.request = parse_request(scope, self.client, door.gate)

    @property
    def instance(self) -> str:
        """The path, decoded as well as it can be, for a problem to name."""
        return unquote(self.request.path, errors="replace")

    async def run(self) -> None:
        """Decide on the request, send it on and pass the answer back."""
        request, gate = self.request, self.door.gate
        page = request.heard.prefers_page
        try:
            gate.check(request)
            self.match = match = gate.route(request.method, request.path, request.query)
            if (page and match.route.browser == "api") or gate.can_refresh(request):
                await self.fall_through(self.door.pages, match.route.max_body)
                return
            if match.answer_options:
                await self.respond(204, [("allow", match.allow)])
                return
            admitted = gate.admit(request, match)
            self.identity = admitted.identity
        except RequestRejected as refused:
            # No route's request, or a person's: Django comes to the same decision, and has the page for it.
            if isinstance(refused, RouteNotFound):
                await self.answer_own()
            elif page or request.path == "*":
                await self.hand_on(self.door.django)
            else:
                await self.refuse(refused)
            return
        try:
            pool, connection = await self.forward(admitted)
        except RequestRejected as refused:
            await self.refuse(refused)
        except asyncio.CancelledError:
            self.note(CLIENT_LEFT)
            raise
        else:
            if self.body.holding:
                self.body.release()
            self.note(connection.status)
            try:
                await (self.join if connection.upgraded else self.pass_on)(connection, admitted)
            finally:
                pool.release(connection)

    async def answer_own(self) -> None:
        """Answer one of the gateway's own paths: here, or in a thread of Django's."""
        request = self.request
        path = request.path if request.path in self.door.own else unquote(request.path)
        endpoint = self.door.own.get(path) if request.method in {"GET", "HEAD"} else None
        if endpoint is not None:
            try:
                answer = await endpoint()
            except asyncio.CancelledError:
                self.note(CLIENT_LEFT)
                raise
            if answer is not None:
                self.label = path
                status, pairs, content = answer
                if self.is_https:
                    pairs = [*pairs, ("Strict-Transport-Security", header_policy.HSTS)]
                await self.respond(status, pairs, content)
                return
        await self.fall_through(self.door.django, settings.MAX_BODY)

    @property
    def is_https(self) -> bool:
        """Whether the client is connected by TLS, here or at a proxy in front."""
        request = self.request
        with suppress(RequestRejected):
            return self.door.gate.origin(request.scheme, request.host, request.heard)[0] == "https"
        return False

    async def fall_through(self, django: Application, most: int) -> None:
        """Let Django answer, whose thread hears of the request once its body is here: `most` bytes are looked at."""
        try:
            await self.wait_for_body(most)
        except ContentTooLarge:
            # Django says so, or what comes before that.
            pass
        except RequestRejected as refused:
            await self.refuse(refused)
            return
        await self.hand_on(django)

    async def hand_on(self, django: Application) -> None:
        """Let Django answer, with as much of the body as has been waited for; it seldom reads the rest."""
        self.answered = True
        if self.body is NO_BODY:
            most = self.match.route.max_body if self.match else settings.MAX_BODY
            self.body = Body(self.receive, None, most) if self.has_body else Body.of(b"")
        await django(self.scope, self.body.replay, self.send)

    @property
    def has_body(self) -> bool:
        """Whether the request has a body, or an unclear one."""
        try:
            return cast("ASGIRequestHeaders", self.request.heard).length != 0
        except RequestRejected:
            return True

    async def wait_for_body(self, most: int) -> None:
        """Return once the body is here, or of a larger one the first of it; raise `RequestRejected`."""
        length = cast("ASGIRequestHeaders", self.request.heard).length
        if length != 0:
            give_way = self.client.give_up_body if self.client else None
            self.body = Body(self.receive, length, most, self.door.memory, give_way)
            await self.body.begin()

    async def forward(self, admitted: Decision) -> tuple[Pool, Connection]:
        """Send the request to its service; return the connection that the answer's head has come on, and its pool."""
        request, route = self.request, admitted.match.route
        heard = cast("ASGIRequestHeaders", request.heard)
        if heard.length != 0:
            await self.wait_for_body(route.max_body)
        handshake = (
            route.websocket
            and self.client is not None
            and request.method == "GET"
            and self.scope["http_version"] == "1.1"
            and heard.is_handshake
        )
        outgoing = Outgoing(
            route.service,
            request.method,
            admitted.target,
            admitted.headers,
            self.body,
            route.timeouts,
            handshake,
            admitted.host,
        )
        pool, connection = await forward(self.door.pools, outgoing)
        self.address = pool.address.authority
        if connection.answer is not None and connection.answer.names_places:
            try:
                connection.headers = self.door.gate.public_headers(admitted, connection.status, connection.headers)
            except RequestRejected:
                pool.release(connection)
                raise
        return pool, connection

    async def pass_on(self, connection: Connection, admitted: Decision) -> None:
        """Answer with what the service answers, as it comes."""
        try:
            await self.start(connection.status, connection.fields(varies=admitted.match.route.browser == "api"))
            if not (connection.is_whole or connection.chunks) and self.client:
                # The first piece may be long in coming, as the first of server-sent events.
                self.client.flush()
            while not connection.is_whole:
                await self.send({"type": "http.response.body", "body": await connection.piece(), "more_body": True})
            await self.send({"type": "http.response.body", "body": connection.take()})
        except UpstreamError as failed:
            # The head is out. An answer without its end closes the client's connection, so that it can tell.
            log.warning("An answer was broken off: %s (%s)", failed.detail, self.address)

    async def join(self, connection: Connection, admitted: Decision) -> None:
        """Let the WebSocket's bytes through until it ends."""
        self.answered = True
        pairs = [*connection.headers, ("x-request-id", self.request.request_id)]
        head = SWITCHING + "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n"
        assert self.client is not None, "without it no handshake is sent on"  # noqa: S101
        tunnel = self.client.take_over(
            head.encode("latin-1"), lambda client: Tunnel(client, connection, admitted.identity)
        )
        if connection.rest:
            tunnel.service_says(connection.rest)
        await self.door.tunnels.keep(tunnel)

    async def refuse(self, refused: RequestRejected) -> None:
        """Answer with the problem that the refusal is."""
        service = None
        if isinstance(refused, UpstreamError):
            service, self.address = refused.service, refused.address or None
        pairs, content = problem(self.instance, refused.status, refused.detail, refused.code, service)
        await self.respond(refused.status, [*pairs, *refused.headers.items()], content)

    async def respond(self, status: int, pairs: Headers, content: bytes = b"") -> None:
        """Answer with something of the gateway's own."""
        self.note(status)
        if content:
            pairs = [*pairs, ("content-length", str(len(content)))]
        await self.start(status, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs])
        await self.send({"type": "http.response.body", "body": content})

    async def start(self, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        """Send the answer's head. The request's id is the gateway's to say."""
        self.answered = True
        named = [*fields, (b"x-request-id", self.request.request_id.encode("latin-1"))]
        await self.send({"type": "http.response.start", "status": status, "headers": named})

    def note(self, status: int) -> None:
        """Count, time and log the request."""
        request = self.request
        seconds = time.perf_counter() - self.started
        route = self.match.route if self.match else None
        self.door.tally.count(request.method, route.path if route else self.label, status, seconds)
        self.door.access_log.write(
            request.request_id,
            request.method,
            request.path,
            status,
            seconds,
            self.identity.user_id if self.identity else None,
            request.heard.address,
            route.service if route else None,
            self.address,
        )


def parse_request(scope: Message, client: Client | None, gate: Gate) -> Request:
    """Return the request as `gate` takes it; from here on its id is in every log line."""
    fields = scope["headers"]
    if client is not None and client.heard is not None and client.heard.fields == fields:
        heard = client.heard
    else:
        heard = ASGIRequestHeaders(fields, scope["client"][0] if scope["client"] else "", gate)
        if client is not None:
            client.heard = heard
    request_id = logs.request_id_from(heard.request_id)
    logs.request_id.set(request_id)
    path, target_scheme, authority = parse_target(scope["raw_path"].decode("latin-1"))
    return Request(
        method=scope["method"],
        path=path,
        query=scope["query_string"].decode("latin-1"),
        host=heard.host if authority is None else authority,
        heard=heard,
        scheme=scope["scheme"],
        request_id=request_id,
        version=scope["http_version"],
        target_scheme=target_scheme,
    )


class ASGIRequestHeaders(RequestHeaders):
    """A request's headers as ASGI has them, in bytes."""

    def __init__(self, fields: list[tuple[bytes, bytes]], peer: str, gate: Gate) -> None:
        self.fields = fields
        super().__init__([(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields], peer, gate)

    @cached_property
    def length(self) -> int | None:
        """The body's length as it was said, `None` where it is chunked."""
        return length_of(self.pairs)

    @cached_property
    def is_handshake(self) -> bool:
        """Whether a WebSocket is asked for."""
        return is_handshake(self.pairs)


def length_of(pairs: Headers) -> int | None:
    """Return the body's length as it was said, `None` where it is chunked; raise `BadRequest` for anything unclear.

    The server checks the framing too. What two parsers could read differently goes no further (RFC 9112, section 6.3).
    """
    codings = header_policy.values(pairs, "transfer-encoding")
    lengths = header_policy.values(pairs, "content-length")
    if not codings and not lengths:
        return 0
    if len(codings) + len(lengths) > 1:
        raise BadRequest("Expected one Content-Length or one Transfer-Encoding.")
    if codings:
        if codings[0].lower() != "chunked":
            raise BadRequest("Expected no transfer coding but chunked.")
        return None
    if not (lengths[0].isascii() and lengths[0].isdigit()):
        raise BadRequest("Expected a Content-Length in digits.")
    return int(lengths[0]) if len(lengths[0]) <= MAX_DIGITS else 10**MAX_DIGITS


def problem(path: str, status: int, detail: str, code: str = "", service: str | None = None) -> tuple[Headers, bytes]:
    """Return the headers and the content of a problem."""
    members: dict[str, Any] = problems.members(path, status, detail, code=code or None)
    if service is not None:
        members["service"] = service
    content = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    # A browser would get a page.
    return [("content-type", problems.MEDIA_TYPE), ("vary", "Accept")], content
