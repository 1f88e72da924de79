"""Requests to services from threads: a `requests` session whose `service://` URLs go over the gateway's connections.

The connections belong to an event loop: the ASGI server's, or under a WSGI server one that runs in a thread of its own.
Nothing is added and nothing followed: no cookies, no environment, no redirects. What goes wrong is an `UpstreamFailed`.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Generic, TypeVar, cast

import requests
import uvloop
from requests.adapters import BaseAdapter

from gateway import configuration
from gateway.config import Timeouts
from gateway.policy.headers import Headers

from .connections import Connection
from .forwarding import Body, Outgoing, forward
from .pools import Pool, Pools

SCHEME = "service://"
T = TypeVar("T")


class Answer:
    """A service's answer: its status and headers are here, its body may still be on the way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, connection: Connection, first: bytes) -> None:
        self.status = connection.status
        self.headers: Headers = connection.headers
        self.first = first
        self.loop = loop
        self.pool = pool
        # Until the body's end is here. Then the connection is another exchange's.
        self.connection: Connection | None = connection

    def body(self) -> Iterator[bytes]:
        """Yield the body as it comes, still in its content coding; raise `UpstreamBroke` or `UpstreamLate`."""
        try:
            if self.first:
                yield self.first
            while self.connection is not None and (piece := wait(self.loop, self.connection.piece())):
                yield piece
        finally:
            self.close()

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.body())

    def close(self) -> None:
        """Give the connection back; it is of no more use where the body has not been read to its end."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self.loop.call_soon_threadsafe(self.pool.give_back, connection)


def wait(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what the coroutine returns on the loop, which is another thread's."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


class Adapter(BaseAdapter):
    """How `requests` reaches `service://NAME/path`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pools: Pools) -> None:
        super().__init__()
        self.loop = loop
        self.pools = pools

    def send(  # noqa: PLR0917  # requests' signature
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,  # noqa: ANN401  # ours are `Timeouts`
        verify: bool | str = True,
        cert: Any = None,  # noqa: ANN401
        proxies: Any = None,  # noqa: ANN401
    ) -> requests.Response:
        """Return the response, whose `raw` is the `Answer`."""
        service, _, path = str(request.url).removeprefix(SCHEME).partition("/")
        headers = [
            (name, value) for name, value in request.headers.items() if name.lower() not in {"content-length", "host"}
        ]
        body = Body.of(cast("bytes", request.body or b""))
        response = requests.Response()
        response.raw = answer = wait(
            self.loop,
            self.answer(
                Outgoing(
                    service, str(request.method), f"/{path}", headers, body, timeout, host=request.headers.get("Host")
                )
            ),
        )
        response.status_code = answer.status
        # The headers are the answer's alone: from `Location` here requests would prepare to follow it.
        response.request = request
        return response

    async def answer(self, outgoing: Outgoing) -> Answer:
        """Send the request; return the answer with the first piece of its body, so that one without it is none."""
        pool, connection = await forward(self.pools, outgoing)
        try:
            answer = Answer(self.loop, pool, connection, await connection.piece())
        except BaseException:
            pool.give_back(connection)
            raise
        if connection.is_whole and not connection.chunks:
            pool.give_back(connection)
            answer.connection = None
        return answer

    def close(self) -> None:
        """Nothing: the connections are closed with their loop."""


class Upstreams:
    """The session. Its state is its connections. `thread` runs their loop, where that is not the server's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pools: Pools, thread: threading.Thread | None = None) -> None:
        self.loop = loop
        self.pools = pools
        self.thread = thread
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.session.mount(SCHEME, Adapter(loop, pools))

    def send(
        self,
        service: str,
        method: str,
        target: str,
        *,
        timeouts: Timeouts | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        host: str | None = None,
    ) -> Answer:
        """Send a request to the service and return its answer's head.

        `target` is path and query, already encoded; without `timeouts` the service's own hold, and without `host` its
        own address. Raises `UpstreamFailed`.
        """
        request = requests.Request(method, f"{SCHEME}{service}{target}").prepare()
        # These and no others.
        request.headers.clear()
        request.headers.update(headers)
        if host is not None:
            request.headers["Host"] = host
        request.body = body
        response = self.session.send(
            request,
            stream=True,
            allow_redirects=False,
            timeout=cast("Any", timeouts or configuration.current().services[service].timeouts),
        )
        return cast("Answer", response.raw)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns on the connections' loop, from another thread."""
        return wait(self.loop, coroutine)

    def close(self) -> None:
        """Close the connections; end the loop, if it is their own."""
        if self.thread is None:
            self.loop.call_soon_threadsafe(self.pools.close)
            return
        self.run(self.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def end(self) -> None:
        """Close the connections and end what is still under way on them."""
        self.pools.close()
        others = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # One more round, in which the connections are closed.
        await asyncio.sleep(0)
        await self.loop.shutdown_default_executor()


class Once(Generic[T]):
    """Makes a value at the first call; two threads that come first at the same time get the same one."""

    def __init__(self, make: Callable[[], T]) -> None:
        self.make = make
        self.lock = threading.Lock()
        self.made: T | None = None

    def __call__(self) -> T:
        """Return the value."""
        if self.made is None:
            with self.lock:
                if self.made is None:
                    self.made = self.make()
        return self.made

    def cache_clear(self) -> None:
        """Forget the value."""
        self.made = None


@Once
def upstreams() -> Upstreams:
    """Return the process's upstreams.

    The ASGI server asks first, on its event loop, and they are on that one; where no loop runs, they have their own.
    """
    thread = None
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = uvloop.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="upstreams", daemon=True)
        thread.start()
    return Upstreams(loop, Pools(configuration.current().services, loop), thread)
