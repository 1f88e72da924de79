"""The ASGI application: the fast door in front, Django behind it."""

import gc
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from asgiref.sync import sync_to_async

from gateway import gate
from gateway.counters import counters
from gateway.identity.revocations import revocations
from gateway.memory import Memory
from gateway.upstreams import Receive, upstreams

from .door import Endpoint, FastProxy
from .wsgi import PAGE_THREADS, THREADS, Message, Send, ThreadedWSGI, WSGIApplication

# Requests leave little garbage that only the collector finds; looking for it less often costs some memory.
THRESHOLDS: Final = (20_000, 20, 50)


class Gateway:
    """What the ASGI server runs; one a process. `own` are paths of the gateway's own that are answered on the loop."""

    def __init__(self, django: WSGIApplication, own: Mapping[str, Endpoint] | None = None) -> None:
        self.own = own or {}
        self.memory = Memory()
        self.django = ThreadedWSGI(django, THREADS, self.memory)
        # Threads of their own: pages of a service that is slow must not keep anyone from a sign-in or from /readyz.
        self.pages = ThreadedWSGI(django, PAGE_THREADS, self.memory)

    @cached_property
    def door(self) -> FastProxy:
        """The fast door."""
        return FastProxy(gate.current(), upstreams().pools, self.django, self.pages, self.own, memory=self.memory)

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
        upstreams()
        # Here, where it can be said that there is no room for them.
        counters()
        # Reads the database, which must not be done on a request's way here.
        await sync_to_async(revocations().start)()
        # What has been loaded stays: collecting garbage must not look through it again and again, for tens of
        # milliseconds in which nobody is answered.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        upstreams().pools.close()
        self.door.close()
        self.django.close()
        self.pages.close()
        await send({"type": "lifespan.shutdown.complete"})
