"""The services' OpenAPI documents, fetched on the event loop, and the merged one that is made of them.

A slow service, or one that is down, delays no client: its last good document serves. A request to it that takes longer
than the limit continues in the background, for the next client.
"""

import asyncio
import json
import logging
from functools import cached_property
from typing import Any, Final, cast

from chassis.problem_responses import problem
from gateway.config import Config, Service
from gateway.policy.rejections import RequestRejected
from gateway.upstreams import SingleFlight, Upstreams, fetch

from . import merging
from .reading import Document

log = logging.getLogger(__name__)

ACCEPT: Final = "application/vnd.oai.openapi+json, application/json;q=0.9"
# Seconds that anyone waits for the services, and for which the merged document is everyone's.
LIMIT: Final = 1.0
SHARED: Final = 1.0
# Seconds for which a service's document is not asked for again.
FRESH: Final = 15.0
# The gateway's own operations that begin or go on with a session, rather than need one.
PUBLIC: Final = frozenset({"login", "token_refresh"})
# Of a document: what reads it needs a few calls a level.
MAX_SEGMENTS: Final = 100


class Unusable(Exception):  # noqa: N818  # an outcome
    """A service's response is not an OpenAPI document."""


class Documents:
    """The last good document of each service, and the merged one."""

    def __init__(
        self, config: Config, upstreams: Upstreams, limit: float = LIMIT, shared: float = SHARED, fresh: float = FRESH
    ) -> None:
        self.config = config
        self.upstreams = upstreams
        self.limit = limit
        self.fresh = fresh
        self.known: dict[str, Document] = {}
        # What was wrong with a service's document when it was last asked for.
        self.faults: dict[str, RequestRejected | Unusable] = {}
        # What was wrong in those that are known.
        self.malformed: dict[str, str] = {}
        self.due: dict[str, float] = {}
        self.fetching: dict[str, asyncio.Task[None]] = {}
        self.merged = b""
        self.is_current = False
        self.shared = SingleFlight(self.look, fresh=shared)

    def succeed(self, before: "Documents") -> None:
        """Keep the documents of services that have not changed."""
        services, known = self.config.services, before.config.services
        self.known = {
            name: document for name, document in before.known.items() if services.get(name) == known.get(name)
        }

    @cached_property
    def own(self) -> Document:
        """The document of the gateway's own endpoints, made at first use: then the URLs are there."""
        return own_document()

    def refresh(self) -> None:
        """Bring the merged document up to date, from a thread; the fast door has done so before Django responds."""
        if self.upstreams.thread is not None or not self.merged:
            self.upstreams.run(self.shared.get())

    async def look(self) -> None:
        """Fetch the documents that are due, all at once, and merge them; wait for `limit` seconds at most."""
        now = asyncio.get_running_loop().time()
        started = []
        for name, service in self.config.services.items():
            if service.openapi is not None and name not in self.fetching and now >= self.due.get(name, 0.0):
                self.fetching[name] = asyncio.create_task(self.update(name, service, service.openapi))
                started.append(self.fetching[name])
        if started:
            await asyncio.wait(started, timeout=self.limit)
        if not self.is_current:
            # First: a document that arrives during the merge is for the next one.
            self.is_current = True
            try:
                # In a thread: a large document takes longer than other requests should wait.
                self.merged = await asyncio.to_thread(self.merge, dict(self.known), self.missing(), self.silent())
            except BaseException:
                self.is_current = False
                raise

    def missing(self) -> dict[str, str]:
        """Return why a service that should have a document has none."""
        reasons = dict.fromkeys(self.fetching, "it has not responded yet")
        reasons |= {name: str(fault) for name, fault in self.faults.items()}
        return {name: why for name, why in reasons.items() if name not in self.known}

    def silent(self) -> set[str]:
        """Return the services without a document because they do not respond."""
        rejected = {name for name, fault in self.faults.items() if isinstance(fault, RequestRejected)}
        return (rejected | self.fetching.keys() - self.faults.keys()) - self.known.keys()

    def merge(self, known: dict[str, Document], missing: dict[str, str], silent: set[str]) -> bytes:
        merged, faults = merging.merge(self.config, self.own, known, missing, silent)
        for name, found in faults.items():
            if name not in missing and self.malformed.get(name) != found:
                log.warning("What is malformed in the OpenAPI document of the %s service is left out: %s", name, found)
        self.malformed = faults
        return json.dumps(merged).encode()

    async def update(self, name: str, service: Service, path: str) -> None:
        """Fetch a service's document; log each fault once. Without a new document the last one stays."""
        loop = asyncio.get_running_loop()
        try:
            document = await self.fetch(name, service, path)
        except (RequestRejected, Unusable) as exc:
            if str(self.faults.get(name)) != str(exc):
                log.warning("The OpenAPI document of the %s service cannot be used: %s", name, exc)
                self.is_current = False
            self.faults[name] = exc
            self.due[name] = loop.time()
        else:
            self.is_current = self.is_current and name not in self.faults and self.known.get(name) == document
            self.faults.pop(name, None)
            self.known[name] = document
            self.due[name] = loop.time() + self.fresh
        finally:
            self.fetching.pop(name, None)

    async def fetch(self, name: str, service: Service, path: str) -> Document:
        response = await fetch(
            self.upstreams.pools, name, path, timeouts=service.timeouts, headers=[("Accept", ACCEPT)]
        )
        if response.status != 200:
            raise Unusable(f"{path} responded with {response.status}, not 200")
        return await asyncio.to_thread(parsed, response.content)


def parsed(content: bytes) -> Document:
    try:
        document = json.loads(content)
        # Python's parser accepts NaN and infinities, which JSON lacks.
        json.dumps(document, allow_nan=False)
    except (ValueError, RecursionError) as exc:
        raise Unusable(f"it is not JSON ({exc})") from exc
    if not isinstance(document, dict):
        raise Unusable("it is not a JSON object")
    if is_deeper(document, MAX_SEGMENTS):
        raise Unusable(f"it has more than {MAX_SEGMENTS} levels")
    return document


def is_deeper(value: object, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in level)


def own_document() -> Document:
    # It imports DRF's views, and those the classes of our settings, which import this module.
    from drf_spectacular.generators import SchemaGenerator

    import chassis.openapi  # noqa: F401  # registers how serializers are described

    document = cast("Any", SchemaGenerator)().get_schema(public=True)
    for operations in document["paths"].values():
        for method, operation in operations.items():
            security: list[dict[str, list[str]]] = [] if operation["operationId"] in PUBLIC else [{merging.SCHEME: []}]
            operation["responses"] = dict(sorted(({"401": problem(401)} | operation["responses"]).items()))
            operations[method] = merging.with_summary(operation) | {"security": security}
    return cast("Document", json.loads(json.dumps(document)))
