"""The gateway's own paths that wait for no thread: at the fast door the event loop responds."""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse

from gateway.identity import keys
from gateway.policy.headers import Headers
from gateway.runtime import Runtime

from .context import WebRequest
from .middleware import DATA_HEADERS

LIVE: Final = {"status": "ok", "service": "gateway"}
JSON: Final = [("Content-Type", "application/json"), *DATA_HEADERS.items()]
Endpoint = Callable[[], Awaitable[tuple[int, Headers, bytes] | None]]


def on_loop(runtime: Runtime) -> Mapping[str, Endpoint]:
    """Return the paths that the event loop responds to; for `None` Django responds."""

    async def live() -> tuple[int, Headers, bytes]:
        return 200, JSON, json.dumps(LIVE).encode()

    async def ready() -> tuple[int, Headers, bytes]:
        status, report = await runtime.readiness.report()
        return status, JSON, json.dumps(report).encode()

    async def public_keys() -> tuple[int, Headers, bytes]:
        """The same as `JWKSView`."""
        content = json.dumps(runtime.keys.current().jwks(), separators=(",", ":")).encode()
        return 200, [*JSON, *keys.PUBLIC_HEADERS.items()], content

    async def prepare_document() -> None:
        """Bring the merged document up to date, so that Django need not wait for a service."""
        await runtime.documents.shared.get()

    return {
        "/.well-known/jwks.json": public_keys,
        "/healthz": live,
        "/livez": live,
        "/openapi.json": prepare_document,
        "/readyz": ready,
    }


def healthz(request: HttpRequest) -> HttpResponse:
    """Respond with 200. It checks no service: a service that is down is no reason to restart the gateway."""
    return JsonResponse(LIVE)


def readyz(request: WebRequest) -> HttpResponse:
    """The readiness under a WSGI server."""
    runtime = request.gateway.runtime
    with suppress(DatabaseError):
        runtime.revocations.start()
    status, report = runtime.upstreams.run(runtime.readiness.report())
    return JsonResponse(report, status=status)


def openapi_json(request: WebRequest) -> HttpResponse:
    """The merged document."""
    documents = request.gateway.runtime.documents
    documents.refresh()
    return HttpResponse(documents.merged, content_type="application/json")
