"""A gateway with a login service."""

from collections.abc import Callable

import pytest
from tests.gateway.login import LoginService
from tests.gateway.service import Service


@pytest.fixture
def login(serve: Callable[..., Service], configure: Callable[..., None]) -> LoginService:
    """The login service behind the gateway."""
    service = LoginService()
    configure(
        services={"people": {"url": serve(service).url}},
        login={"service": "people"},
        versions={"current": "v1"},
        routes=[{"path": "/api/things", "methods": ["GET"], "service": "people", "allow": "authenticated"}],
    )
    return service
