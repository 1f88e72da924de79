"""The ASGI application: the fast door in front, Django behind it."""

import gc
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Final

from asgiref.sync import sync_to_async
from django.conf import settings

from chassis import logs
from gateway import metrics
from gateway.gate import Gate
from gateway.memory import Memory
from gateway.openapi.validation import Validation
from gateway.policy.headers import Headers
from gateway.runtime import Runtime
from gateway.status import StatusSocket
from gateway.upstreams import HeaderBlock, Pools, Receive, encode_headers

from .access_log import AccessLog
from .client import ClientConnection
from .environ import Message
from .exchange import Exchange
from .header_blocks import RequestMemo
from .incoming import problem
from .messages import RequestMessage
from .parsing import InvalidRequest
from .tunnels import Tunnels
from .wsgi import PAGE_THREADS, THREADS, Send, ThreadedWSGI, WSGIApplication

# Requests leave little garbage that only the collector finds; looking for it less often costs some memory.
THRESHOLDS: Final = (20_000, 20, 50)


# Answers a GET of one of the gateway's own paths: status, headers, content; `None` if Django can without waiting.
Endpoint = Callable[[], Awaitable[tuple[int, Headers, bytes] | None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class FastProxy:
    """What the exchanges of a worker share. `pages` responds to persons' requests for routes, `django` to the rest."""

    def __init__(
        self,
        gate: Gate,
        pools: Pools,
        django: Application,
        pages: Application,
        own: Mapping[str, Endpoint] | None = None,
        *,
        validation: Validation,
        memory: Memory | None = None,
    ) -> None:
        # The gateway's own paths that are answered on the event loop.
        self.own = own or {}
        self.memory = memory or Memory()
        self.gate = gate
        self.pools = pools
        self.validation = validation
        self.django = django
        self.pages = pages
        self.memo = RequestMemo()
        self.tunnels = Tunnels(gate.authentication.revocations)
        self.access_log = AccessLog(pools.loop)
        self.tally = metrics.Tally(pools.loop)

    def exchange(self, connection: ClientConnection, message: RequestMessage) -> Exchange:
        """Return the exchange of a client's request."""
        return Exchange(self, connection, message)

    def problem(self, invalid: InvalidRequest) -> tuple[str, HeaderBlock, bytes]:
        """Return the request id, headers and content of the response to what is not a request."""
        request_id = logs.request_id_from(None)
        logs.request_id.set(request_id)
        pairs, content = problem(invalid.path, invalid.status, invalid.detail)
        headers = encode_headers(invalid.status, [*pairs, ("content-length", str(len(content)))])
        return request_id, headers, content

    def close(self) -> None:
        """Write what is still to be logged and counted."""
        self.access_log.flush()
        self.tally.hand_on()


class Gateway:
    """The application that the worker runs: `proxy` serves clients, a call (ASGI) its start and stop."""

    def __init__(self, runtime: Runtime, django: WSGIApplication, own: Mapping[str, Endpoint] | None = None) -> None:
        self.runtime = runtime
        self.own = own or {}
        self.memory = Memory()
        self.django = ThreadedWSGI(django, THREADS, self.memory)
        # Their own threads: pages of a slow service must not delay a sign-in or /readyz.
        self.pages = ThreadedWSGI(django, PAGE_THREADS, self.memory)

    @cached_property
    def proxy(self) -> FastProxy:
        """The fast door."""
        runtime = self.runtime
        return FastProxy(
            runtime.gate,
            runtime.upstreams.pools,
            self.django,
            self.pages,
            self.own,
            validation=runtime.validation,
            memory=self.memory,
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve the process's start and stop (ASGI's lifespan)."""
        if scope["type"] == "lifespan":
            await self.live(receive, send)

    async def live(self, receive: Receive, send: Send) -> None:
        """Start and stop with the server."""
        await receive()
        # Before any thread asks: they are this loop's.
        pools = self.runtime.upstreams.pools
        status = StatusSocket(settings.STATE, pools)
        await status.start()
        # Reads the database, which must not be done on a request's way here.
        await sync_to_async(self.runtime.revocations.start)()
        # What has been loaded stays: garbage collection must not scan it again and again, for tens of milliseconds in
        # which no request is served.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        status.close()
        pools.close()
        if (shared := self.runtime.gate.shared) is not None:
            await shared.close()
        self.proxy.close()
        self.django.close()
        self.pages.close()
        await send({"type": "lifespan.shutdown.complete"})
