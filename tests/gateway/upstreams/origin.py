"""A service on the test's event loop: it parses requests strictly and sends exactly the bytes of a test."""

import asyncio
import functools
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import httptools
import uvloop

from gateway.config import TLS, Eject, HealthCheck, Service, Timeouts, WeightedURL
from gateway.policy.route_policies import ResponseView, RoutePolicies
from gateway.upstreams import NO_BODY, Body, Pool, Pools, ServiceResponse, UpstreamRequest
from gateway.upstreams.resolution import LookUp
from gateway.upstreams.service import ServiceConnection

# Seconds in which a test has to end, and what it waits for has to come, on a busy machine too.
WITHIN = 120.0
PATIENCE = 60.0
# Seconds that a busy machine may be later than a deadline of less than one: less than the other deadlines there.
LATER = 4.0


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a loop of its own, of the kind that serves."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(test(*args, **kwargs), WITHIN))

    return run


async def until(condition: Callable[[], Any]) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # conditions of all kinds
            await asyncio.sleep(0.001)


class Seen:
    """A whole request, as a strict parser has read it."""

    def __init__(self) -> None:
        self.method = ""
        self.target = ""
        self.headers: list[tuple[str, str]] = []
        self.pieces: list[bytes] = []
        self.whole = False

    @property
    def body(self) -> bytes:
        """The body, without its framing."""
        return b"".join(self.pieces)

    def header(self, name: str) -> str | None:
        """Return a header's value, `None` without it; it must not have come twice."""
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) <= 1, found
        return found[0] if found else None

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        assert not self.whole, "there is a second request"
        self.whole = True


def parsed(data: bytes) -> Seen:
    """Return the one request that the bytes are; raise `HttpParserError` or `AssertionError` where they are not."""
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    parser.feed_data(data)
    seen.method = parser.get_method().decode()
    assert seen.whole, "the request has no end"
    return seen


class Wire:
    """A connection, from the service's side."""

    def __init__(self, origin: "Origin", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.origin = origin
        self.reader = reader
        self.writer = writer

    async def request(self) -> Seen:
        """Return the next request; raise `IncompleteReadError` where the other end has closed."""
        seen = Seen()
        parser = httptools.HttpRequestParser(seen)
        while not seen.whole:
            data = await self.reader.read(65536)
            if not data:
                raise asyncio.IncompleteReadError(b"", None)
            parser.feed_data(data)
        seen.method = parser.get_method().decode()
        return seen

    async def send(self, data: bytes) -> None:
        """Send the bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def ended(self) -> bytes:
        """Return what still comes until the other end closes, in good order or not."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read()
        except ConnectionError:
            return b""

    def close(self) -> None:
        """Close."""
        self.writer.close()


Behaviour = Callable[[Wire], Awaitable[None]]


class Origin:
    """The service. It treats each connection as `behave` does; what fails there fails the test."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.behave = behave
        self.tls = tls
        self.wires: list[Wire] = []
        self.seen: list[Seen] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        wire = Wire(self, reader, writer)
        self.wires.append(wire)
        try:
            await self.behave(wire)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            # The test has ended.
            pass
        finally:
            wire.close()

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(0)
        assert [outcome for outcome in outcomes if outcome is not None] == []


def responding(*responses: bytes) -> Behaviour:
    """Respond to each request with the next response, then always with the last; an empty one closes."""

    async def behave(wire: Wire) -> None:
        seen = wire.origin.seen
        while True:
            seen.append(await wire.request())
            response = responses[min(len(seen), len(responses)) - 1]
            if not response:
                return
            await wire.send(response)

    return behave


async def silent(wire: Wire) -> None:
    """Send nothing until the other end closes."""
    await wire.ended()


DEFAULT = Eject()
# An address that fails is tried again and again.
NEVER = Eject().model_copy(update={"most": 0.0})


def pools_at(
    urls: tuple[str, ...],
    eject: Eject = NEVER,
    look_up: LookUp | None = None,
    health: HealthCheck | None = None,
    state: Path | None = None,
    tls: TLS | None = None,
    timeouts: Timeouts | None = None,
) -> Pools:
    """Return pools of one service, on the running loop."""
    entries = tuple(url if isinstance(url, WeightedURL) else WeightedURL.of(url) for url in urls)
    service = Service.model_construct(
        url=entries, timeouts=timeouts or Timeouts(), eject=eject, health=health, tls=tls or TLS()
    )
    return Pools({"things": service}, asyncio.get_running_loop(), look_up, state)


@dataclass
class OpenPools:
    """Pools of one service, closed at the end."""

    urls: tuple[str, ...]
    eject: Eject = DEFAULT
    look_up: LookUp | None = None
    health: HealthCheck | None = None
    state: Path | None = None
    tls: TLS | None = None
    timeouts: Timeouts | None = None

    async def __aenter__(self) -> Pools:
        self.pools = pools_at(self.urls, self.eject, self.look_up, self.health, self.state, self.tls, self.timeouts)
        return self.pools

    async def __aexit__(self, *exc: object) -> None:
        self.pools.close()
        # Connections end in the loop's next turns.
        for _ in range(3):
            await asyncio.sleep(0)


def only(pools: Pools) -> Pool:
    """Return the service's one pool."""
    (pool,) = pools.of("things").pools
    return pool


def begin(
    connection: ServiceConnection,
    method: str = "GET",
    *,
    within: float = PATIENCE,
    first_byte: float | None = None,
    may_upgrade: bool = False,
    body: Body = NO_BODY,
    total: float = PATIENCE,
    notify: Callable[[], None] | None = None,
) -> ServiceResponse:
    """Send a small request on the connection; return its response."""
    timeouts = Timeouts.model_construct(first_byte=first_byte, total=total)
    request = UpstreamRequest("things", method, "/", [], body, timeouts, may_upgrade)
    return connection.round_trip(request, asyncio.get_running_loop().time() + within, notify)


async def ready(response: ServiceResponse) -> ServiceResponse:
    """Return the response once it can be sent on; raise what failed before."""
    await response.settled()
    if response.error and response.has_failed:
        raise response.error
    return response


async def body_of(response: ServiceResponse) -> bytes:
    """Return the rest of the response's body."""
    pieces = []
    while piece := await response.piece():
        pieces.append(piece)
    return b"".join(pieces)


class Client(NamedTuple):
    """What responses depend on of a request."""

    page_origin: str | None = None
    accept_encoding: str = "gzip"
    if_none_match: str = ""


ANYONE = Client()


def view(policies: RoutePolicies | None = None, client: Client = ANYONE, *, varies: bool = False) -> ResponseView:
    """Return how a route's responses are changed for a client."""
    return ResponseView(policies, client, varies=varies)
