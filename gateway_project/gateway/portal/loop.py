"""The gateway's own paths that the fast door answers on the event loop: they wait for no thread."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from gateway.identity import keys
from gateway.policy.headers import Headers

from . import documents, health
from .middleware import DATA_HEADERS

Endpoint = Callable[[], Awaitable[tuple[int, Headers, bytes] | None]]


async def live() -> tuple[int, Headers, bytes]:
    """Answer /healthz."""
    return 200, [("Content-Type", "application/json"), *DATA_HEADERS.items()], json.dumps(health.LIVE).encode()


async def public_keys() -> tuple[int, Headers, bytes]:
    """Answer /.well-known/jwks.json, as `JWKSView` does."""
    pairs = [("Content-Type", "application/json"), *keys.PUBLIC_HEADERS.items(), *DATA_HEADERS.items()]
    return 200, pairs, json.dumps(keys.ring().jwks(), separators=(",", ":")).encode()


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/.well-known/jwks.json": public_keys,
    "/healthz": live,
    "/openapi.json": documents.prepare,
    "/readyz": health.answer,
}
