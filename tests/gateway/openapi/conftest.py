"""A documented service behind the gateway."""

import json
from collections.abc import Callable

import pytest
from tests.gateway.openapi.services import ROUTES, answering, document
from tests.gateway.service import Service


@pytest.fixture
def things(serve: Callable[..., Service], configure: Callable[..., None]) -> Service:
    """A documented service."""
    service = serve(answering(json.dumps(document()).encode()))
    configure(
        services={"things": {"url": service.url, "openapi": "/openapi.json"}},
        routes=[route | {"service": "things"} for route in ROUTES],
    )
    return service
