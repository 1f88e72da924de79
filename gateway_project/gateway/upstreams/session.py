"""Requests to services from threads: a `requests` session whose `service://` URLs go over the gateway's connections.

The connections belong to an event loop: the ASGI server's, or under a WSGI server one that runs in a thread of its own.
Nothing is added and nothing followed: no cookies, no environment, no redirects. What goes wrong is an `UpstreamError`.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, TypeVar, cast

import requests
import uvloop
from requests.adapters import BaseAdapter

from gateway.config import Policies, Service, Timeouts
from gateway.policy.headers import values
from gateway.policy.rejections import RequestRejected
from gateway.tracing import Tracer

from .balancing import Pools
from .forwarding import Forwarding
from .requests import UpstreamRequest
from .threads import BlockingResponse, Bridge, Upload
from .traced import TracedForwarding

SCHEME = "service://"
T = TypeVar("T")


class Adapter(BaseAdapter):
    """How `requests` reaches `service://NAME/path`."""

    def __init__(self, upstreams: "Upstreams") -> None:
        super().__init__()
        self.upstreams = upstreams

    def send(  # noqa: PLR0917  # requests' signature
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,  # noqa: ANN401  # ours are `Timeouts`
        verify: bool | str = True,
        cert: Any = None,  # noqa: ANN401
        proxies: Any = None,  # noqa: ANN401
    ) -> requests.Response:
        """Return the response, whose `raw` is the `BlockingResponse`."""
        service, _, path = str(request.url).removeprefix(SCHEME).partition("/")
        headers = [
            (name, value) for name, value in request.headers.items() if name.lower() not in {"content-length", "host"}
        ]
        bridge = cast("Bridge", request.body)
        upstream_request = UpstreamRequest(
            service,
            str(request.method),
            f"/{path}",
            headers,
            bridge.body(),
            timeout,
            host=request.headers.get("Host"),
            policies=bridge.policies,
        )
        response = requests.Response()
        response.raw = raw = bridge.run(self.round_trip(bridge, upstream_request))
        response.status_code = raw.status
        # The headers are in `raw` alone: from `Location` here requests would prepare to follow it.
        response.request = request
        return response

    async def round_trip(self, bridge: Bridge, request: UpstreamRequest) -> BlockingResponse:
        """Send the request; return the response with the first piece of its body, or raise what failed."""
        if not request.body.is_whole:
            await request.body.begin()
        pools, tracer = self.upstreams.pools, self.upstreams.tracer
        traceparent = next(iter(values(request.headers, "traceparent")), "")
        if tracer is None or not traceparent.endswith("-01"):
            forwarding = Forwarding(pools, request)
        else:
            forwarding = TracedForwarding(pools, request, traceparent, tracer)
        try:
            response = await forwarding.send()
            blocking = BlockingResponse(bridge, forwarding, response, await response.piece())
        except BaseException:
            forwarding.end()
            raise
        if response.is_whole and not response.chunks:
            forwarding.end()
            blocking.response = None
        return blocking

    def close(self) -> None:
        """Nothing: the connections are closed with their loop."""


class Upstreams:
    """The session. Its state is its connections, made at first use: a process that forks before it has none yet.

    The ASGI server asks first, on its event loop, and they are on that one. Where no loop runs, they have their own,
    in a `thread`.
    """

    def __init__(
        self, services: Mapping[str, Service], state: Path | None = None, tracer: Tracer | None = None
    ) -> None:
        self.services = services
        # Exports a span of each try, if spans are exported.
        self.tracer = tracer
        # Where the workers share what they know of the services' health.
        self.state = state
        self.thread: threading.Thread | None = None
        self.made: Pools | None = None
        self.making = threading.Lock()
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.session.mount(SCHEME, Adapter(self))

    @property
    def pools(self) -> Pools:
        """The connections; two threads that come first at the same time get the same ones."""
        if self.made is None:
            with self.making:
                self.made = self.made or self.make()
        return self.made

    def succeed(self, before: "Upstreams") -> None:
        """Use the event loop of `before`, and its connections to services that have not changed."""
        self.thread = before.thread
        self.made = Pools(self.services, before.loop, state=self.state, before=before.pools)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self.pools.loop

    def make(self) -> Pools:
        """Return the connections, on the loop that runs here or on one of their own."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = uvloop.new_event_loop()
            self.thread = threading.Thread(target=loop.run_forever, name="upstreams", daemon=True)
            self.thread.start()
        return Pools(self.services, loop, state=self.state)

    def send(
        self,
        service: str,
        method: str,
        target: str,
        *,
        timeouts: Timeouts | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | Upload = b"",
        host: str | None = None,
        policies: Policies | None = None,
        on_disconnect: Callable[[Callable[[], None]], None] | None = None,
    ) -> BlockingResponse:
        """Send a request to the service and return its response, of which the body may still be on its way.

        `target` is path and query, already encoded; without `timeouts` the service's own hold, and without `host` its
        own address. `policies` are the route's: without them it is a request of the gateway itself, which is not
        retried and needs no place in a bulkhead. `on_disconnect` takes what is to be called when the client leaves.
        Raises `UpstreamError`, `ClientLeft`, and what reading the body raises.
        """
        bridge = Bridge(self.loop, body, policies)
        if on_disconnect is not None:
            on_disconnect(bridge.cancel)
        request = requests.Request(method, f"{SCHEME}{service}{target}").prepare()
        # These and no others.
        request.headers.clear()
        request.headers.update(headers)
        if host is not None:
            request.headers["Host"] = host
        request.body = cast("Any", bridge)
        try:
            response = self.session.send(
                request,
                stream=True,
                allow_redirects=False,
                timeout=cast("Any", timeouts or self.services[service].timeouts),
            )
        except RequestRejected:
            bridge.drain()
            raise
        blocking = cast("BlockingResponse", response.raw)
        if blocking.response is None:
            bridge.drain()
        return blocking

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns on the connections' loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self) -> None:
        """Close the connections; end the loop, if it is their own."""
        pools, thread = self.made, self.thread
        self.made = self.thread = None
        if pools is None:
            return
        if thread is None:
            pools.loop.call_soon_threadsafe(pools.close)
            return
        asyncio.run_coroutine_threadsafe(end(pools), pools.loop).result()
        pools.loop.call_soon_threadsafe(pools.loop.stop)
        thread.join()
        pools.loop.close()


async def end(pools: Pools) -> None:
    """Close the connections and end what is still under way on their loop."""
    pools.close()
    others = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    # One more round, in which the connections are closed.
    await asyncio.sleep(0)
    await pools.loop.shutdown_default_executor()
