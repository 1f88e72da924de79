"""The ASGI application: the fast door in front, Django behind it."""

import gc
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from asgiref.sync import sync_to_async

from gateway.memory import Memory
from gateway.runtime import Runtime
from gateway.upstreams import Receive

from .door import Endpoint, FastProxy
from .wsgi import PAGE_THREADS, THREADS, Message, Send, ThreadedWSGI, WSGIApplication

# Requests leave little garbage that only the collector finds; looking for it less often costs some memory.
THRESHOLDS: Final = (20_000, 20, 50)


class Gateway:
    """What the ASGI server runs; one a process. `own` are paths of the gateway's own that are answered on the loop."""

    def __init__(self, runtime: Runtime, django: WSGIApplication, own: Mapping[str, Endpoint] | None = None) -> None:
        self.runtime = runtime
        self.own = own or {}
        self.memory = Memory()
        self.django = ThreadedWSGI(django, THREADS, self.memory)
        # Threads of their own: pages of a service that is slow must not keep anyone from a sign-in or from /readyz.
        self.pages = ThreadedWSGI(django, PAGE_THREADS, self.memory)

    @cached_property
    def door(self) -> FastProxy:
        """The fast door."""
        runtime = self.runtime
        return FastProxy(runtime.gate, runtime.upstreams.pools, self.django, self.pages, self.own, memory=self.memory)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the process's start and stop."""
        if scope["type"] == "http":
            await self.door.answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.live(receive, send)

    async def live(self, receive: Receive, send: Send) -> None:
        """Start and stop with the server."""
        await receive()
        # Before any thread asks: they are this loop's.
        pools = self.runtime.upstreams.pools
        # Reads the database, which must not be done on a request's way here.
        await sync_to_async(self.runtime.revocations.start)()
        # What has been loaded stays: collecting garbage must not look through it again and again, for tens of
        # milliseconds in which nobody is answered.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        pools.close()
        self.door.close()
        self.django.close()
        self.pages.close()
        await send({"type": "lifespan.shutdown.complete"})
