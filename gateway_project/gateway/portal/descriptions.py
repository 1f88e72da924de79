"""What the merged OpenAPI document says of a route's operations, for the pages."""

import json
from functools import lru_cache
from typing import Any, cast

from gateway.config import Route
from gateway.upstreams import upstreams

from . import documents


def document() -> dict[str, Any]:
    """Return the merged document, brought up to date as for /openapi.json."""
    if upstreams().thread is not None or not documents.documents().merged:
        upstreams().run(documents.prepare())
    return _parsed(documents.documents().merged)


def operations(route: Route) -> dict[str, dict[str, Any]]:
    """Return the document's operations of the route's path, by method in capitals."""
    item = document()["paths"].get(route.path, {})
    return {method.upper(): operation for method, operation in item.items()}


@lru_cache(2)
def _parsed(content: bytes) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(content))
