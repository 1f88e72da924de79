"""The ASGI application: the fast door in front, Django behind it."""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.db import connections

from chassis import logs
from gateway import callers, config_events, configuration, in_force, metrics
from gateway.gate import Gate
from gateway.identity import audit
from gateway.memory import Memory
from gateway.openapi.validation import Validation
from gateway.policy.headers import Headers
from gateway.recent_problems import RecentProblems
from gateway.runtime import Runtime
from gateway.status import StatusSocket
from gateway.tracing import Tracer
from gateway.upstreams import HeaderBlock, Pools, Receive, encode_headers

from .access_log import AccessLog
from .client import ClientConnection
from .environ import Message
from .exchange import Exchange
from .header_blocks import RequestMemo
from .invalid import InvalidRequest
from .messages import RequestMessage
from .parsing import HeaderBounds
from .problem_responses import HEADERS, document
from .tunnels import Tunnels
from .wsgi import PAGE_THREADS, THREADS, Send, ThreadedWSGI, WSGIApplication

if TYPE_CHECKING:
    from gateway.apps import GatewayConfig

log = logging.getLogger(__name__)

# Requests leave little garbage that only the collector finds; looking for it less often costs some memory.
THRESHOLDS: Final = (20_000, 20, 50)
# Seconds between two looks at whether the master has taken up another gateway.yaml, and after one that failed.
FOLLOW_INTERVAL: Final = 0.1
FAILED_INTERVAL: Final = 5.0
# Seconds between two looks at whether the master has an event for the audit trail.
AUDIT_INTERVAL: Final = 1.0
# Seconds for which a change waits for the documents that requests are validated by.
VALIDATION_TIMEOUT: Final = 3.0


# Responds to a GET of one of the gateway's own paths: status, headers, content; `None` if Django can without waiting.
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
        problems: RecentProblems,
        memory: Memory | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        # The gateway's own paths that the event loop responds to.
        self.own = own or {}
        self.memory = memory or Memory()
        self.gate = gate
        self.pools = pools
        self.validation = validation
        self.problems = problems
        self.django = django
        self.pages = pages
        self.memo = RequestMemo()
        self.bounds = HeaderBounds(
            settings.MAX_HEADER_BYTES, settings.MAX_HEADER_FIELD_BYTES, settings.MAX_HEADER_FIELDS
        )
        self.tunnels = Tunnels(gate.authentication.revocations)
        self.tracer = tracer
        self.access_log = AccessLog(pools.loop)
        self.tally = metrics.Tally(pools.loop)
        self.calls = callers.CallTally(pools.loop)

    def successor(self, runtime: Runtime, own: Mapping[str, Endpoint]) -> "FastProxy":
        """Return the same by another configuration, with the same log, counts and tunnels.

        What headers are allowed is known no more: it depends on the configuration.
        """
        following = copy(self)
        following.gate, following.pools, following.own = runtime.gate, runtime.upstreams.pools, own
        following.validation = runtime.validation
        self.memo.forget()
        return following

    def exchange(self, connection: ClientConnection, message: RequestMessage) -> Exchange:
        return Exchange(self, connection, message)

    def problem(self, invalid: InvalidRequest) -> tuple[str, HeaderBlock, bytes]:
        """Return the request id, headers and content of the response to what is not a request."""
        request_id = logs.request_id_from(None)
        logs.request_id.set(request_id)
        logs.traceparent.set("")
        content = document(invalid.path, invalid.status, invalid.detail)
        headers = encode_headers(invalid.status, [*HEADERS, ("content-length", str(len(content)))])
        return request_id, headers, content

    def close(self) -> None:
        """Write what is still to be logged and counted."""
        self.access_log.flush()
        self.tally.hand_on()
        self.calls.hand_on()


def record_config_events() -> None:
    """Record what the master has left, in a thread that keeps no connection to the database."""
    try:
        audit.record_config_events()
    finally:
        connections.close_all()


class Watch(NamedTuple):
    """Where a worker finds a gateway.yaml that the master has taken up: its copy, and the path that it is from."""

    copy: Path
    path: Path


class Gateway:
    """The application that the worker runs: `proxy` serves clients, a call (ASGI) its start and stop."""

    def __init__(
        self,
        runtime: Runtime,
        django: WSGIApplication,
        endpoints: Callable[[Runtime], Mapping[str, Endpoint]] = lambda _: {},  # Django responds to all
        watch: Watch | None = None,
    ) -> None:
        self.runtime = runtime
        # The gateway's own paths that the event loop responds to.
        self.endpoints = endpoints
        # Where changes of gateway.yaml come from, if they are taken up.
        self.watch = watch
        self.following: list[asyncio.Task[None]] = []
        self.status: StatusSocket | None = None
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
            self.endpoints(runtime),
            validation=runtime.validation,
            problems=runtime.problems,
            memory=self.memory,
            tracer=runtime.upstreams.tracer,
        )

    async def follow(self, watch: Watch) -> None:
        """Take up each gateway.yaml that the master shares."""
        while True:
            await asyncio.sleep(FOLLOW_INTERVAL)
            try:
                if not configuration.is_current():
                    await self.take_up(await asyncio.to_thread(configuration.load_shared, watch.copy, watch.path))
            except Exception:
                log.exception("A gateway.yaml that the master shares was not taken up")
                await asyncio.sleep(FAILED_INTERVAL)

    async def audit(self) -> None:
        """Record the events that the master leaves for the audit trail."""
        while True:
            await asyncio.sleep(AUDIT_INTERVAL)
            if not config_events.are_waiting(settings.STATE):
                continue
            try:
                await sync_to_async(record_config_events)()
            except Exception:
                log.exception("An event of gateway.yaml is not in the audit trail yet")
                await asyncio.sleep(FAILED_INTERVAL)

    async def take_up(self, loaded: configuration.Loaded) -> None:
        """Serve by another gateway.yaml from the next request on. Those under way keep the one they began with."""
        before = self.runtime
        # In a thread: a large file takes longer than other requests should wait.
        runtime = await asyncio.to_thread(before.successor, loaded.config)
        if runtime.validation.routes:
            # So that no request goes unchecked, if the services respond.
            with suppress(TimeoutError):
                await asyncio.wait_for(runtime.validation.look(), VALIDATION_TIMEOUT)
        before.retire(runtime)
        self.runtime = runtime
        self.proxy = self.proxy.successor(runtime, self.endpoints(runtime))
        if self.status is not None:
            self.status.pools, self.status.routes = runtime.upstreams.pools, loaded.config.routes
            self.status.config_since = time.time()
        cast("GatewayConfig", apps.get_app_config("gateway")).runtime = runtime
        configuration.take_up(loaded)
        in_force.note(loaded.digest)
        log.info("Now serving %s", loaded)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve the process's start and stop (ASGI's lifespan)."""
        if scope["type"] == "lifespan":
            await self.live(receive, send)

    async def live(self, receive: Receive, send: Send) -> None:
        await receive()
        # Before any thread asks: they are this loop's.
        self.status = StatusSocket(settings.STATE, self.runtime.upstreams.pools, self.runtime.config.routes)
        await self.status.start()
        # Reads the database, which must not be done on a request's way here.
        await sync_to_async(self.runtime.revocations.start)()
        # What has been loaded stays: garbage collection must not scan it again and again, for tens of milliseconds in
        # which no request is served.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        if configuration.loaded is not None:
            in_force.note(configuration.loaded.digest)
        if self.watch is not None:
            self.following = [asyncio.create_task(self.follow(self.watch)), asyncio.create_task(self.audit())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in self.following:
            task.cancel()
        self.status.close()
        self.runtime.upstreams.pools.close()
        if (shared := self.runtime.gate.shared) is not None:
            await shared.close()
        self.proxy.close()
        self.django.close()
        self.pages.close()
        await send({"type": "lifespan.shutdown.complete"})
