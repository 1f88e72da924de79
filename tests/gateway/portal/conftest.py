"""A service for logins behind the gateway."""

from collections.abc import Callable

import pytest
from tests.gateway.login import LoginService
from tests.gateway.service import Reply, Seen, Service


@pytest.fixture
def login(serve: Callable[..., Service], configure: Callable[..., None]) -> LoginService:
    service = LoginService()

    def answer(seen: Seen) -> Reply:
        return service(seen) if seen.target.startswith("/internal/") else Reply()

    configure(
        services={"people": {"url": serve(answer).url}},
        login={"service": "people"},
        routes=[
            {"path": "/api/things", "methods": ["GET", "POST"], "service": "people", "allow": "authenticated"},
            {"path": "/pages/{path...}", "methods": ["GET", "POST"], "service": "people", "allow": ["admin"],
             "browser": "passthrough"},
        ],
    )  # fmt: skip
    return service
