"""What the merged OpenAPI document says of a route's operations, for the pages."""

import json
from functools import lru_cache
from typing import Any, cast

from gateway.config import Route
from gateway.openapi.documents import Documents


def document(documents: Documents) -> dict[str, Any]:
    """Return the merged document, brought up to date as for /openapi.json."""
    documents.refresh()
    return _parsed(documents.merged)


def operations(documents: Documents, route: Route) -> dict[str, dict[str, Any]]:
    """Return the merged document's operations of the route's path, by method in capitals."""
    item = document(documents)["paths"].get(route.path, {})
    return {method.upper(): operation for method, operation in item.items()}


@lru_cache(2)
def _parsed(content: bytes) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(content))
