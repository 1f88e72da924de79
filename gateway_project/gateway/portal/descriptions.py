"""What the merged OpenAPI document says of a route's operations, for the pages."""

import asyncio
import json
from functools import lru_cache
from typing import Any, Final, cast

from gateway.config import Route
from gateway.openapi.documents import Documents

Document = dict[str, Any]
# How the lines begin that the gateway adds to a description.
OWN_LINES: Final = ("For: ", "Deprecated since ")


def document(documents: Documents) -> Document:
    """Return the merged document. Only the first page waits for the services; the others bring it up to date."""
    if documents.merged:
        asyncio.run_coroutine_threadsafe(documents.shared.get(), documents.upstreams.loop)
    else:
        documents.upstreams.run(documents.shared.get())
    return _parsed(documents.merged)


def operations(document: Document, route: Route) -> dict[str, Document]:
    """Return the document's operations of the route's path, by method in capitals."""
    item = document["paths"].get(route.path, {})
    return {method.upper(): operation for method, operation in item.items()}


@lru_cache(2)
def _parsed(content: bytes) -> Document:
    return cast("Document", json.loads(content))
