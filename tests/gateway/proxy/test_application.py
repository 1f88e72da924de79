"""What the ASGI server runs: its start, its requests, its stop."""

import asyncio
import gc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from tests.gateway.proxy.asgi import Message
from tests.gateway.proxy.client import ask
from tests.gateway.runtimes import runtime
from tests.gateway.upstreams.origin import Origin, on_a_loop, responding, until

from gateway.proxy.application import Gateway

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def as_before() -> Iterator[None]:
    """Collect garbage as before, after the test."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def django(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer as Django would."""
    start_response("200 OK", [("Content-Length", "6")])
    return [b"django"]


class Life:
    """The server's start and stop, as it announces them."""

    def __init__(self, application: Gateway) -> None:
        self.said: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[str] = []
        self.task = asyncio.ensure_future(application({"type": "lifespan"}, self.said.get, self.send))

    async def send(self, message: Any) -> None:
        """Record what the application sends."""
        self.sent.append(message["type"])

    async def start(self) -> None:
        """Start."""
        self.said.put_nowait({"type": "lifespan.startup"})
        await until(lambda: self.sent)

    async def stop(self) -> None:
        """Stop."""
        self.said.put_nowait({"type": "lifespan.shutdown"})
        await self.task


def test_it_starts_serves_and_stops(configure: Callable[..., None], as_before: None) -> None:
    @on_a_loop
    async def live() -> None:
        async with Origin(responding(OK)) as origin:
            configure(
                services={"things": {"url": origin.url}},
                routes=[{"path": "/api/things", "service": "things", "allow": "public"}],
            )
            application = Gateway(runtime(), django)
            life = Life(application)
            await life.start()
            assert life.sent == ["lifespan.startup.complete"]
            session = runtime().upstreams
            assert (session.loop, session.thread) == (asyncio.get_running_loop(), None)
            got = await ask(application.proxy, "GET", "/api/things")
            assert (got.status, got.body) == (200, b"ok")
            page = await ask(application.proxy, "GET", "/login/")
            assert (page.status, page.body) == (200, b"django")
            (pool,) = session.pools.of("things").pools
            assert pool.live
            await life.stop()
            assert life.sent[1:] == ["lifespan.shutdown.complete"]
            await until(lambda: not pool.live)
            # The threads are gone too.
            assert (await ask(application.proxy, "GET", "/login/")).status == 500
            runtime().upstreams.close()

    live()


def test_what_is_loaded_is_not_looked_through_again(configure: Callable[..., None], as_before: None) -> None:
    @on_a_loop
    async def live() -> None:
        configure()
        life = Life(Gateway(runtime(), django))
        await life.start()
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold()[0] > 700
        await life.stop()
        runtime().upstreams.close()

    live()


@on_a_loop
async def test_scopes_other_than_http_websocket_and_lifespan_are_rejected() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    application = Gateway(runtime(), django)
    await application({"type": "websocket"}, asyncio.Event().wait, send)
    application.django.close()
    assert sent == []
