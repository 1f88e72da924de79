"""Routes to one service."""

from collections.abc import Callable
from typing import Any

import pytest

ROUTES: list[dict[str, Any]] = [
    {"path": "/api/things", "methods": ["GET", "POST"], "allow": "public"},
    {"path": "/api/mine", "methods": ["GET"], "allow": "authenticated"},
    {"path": "/api/small", "methods": ["POST"], "allow": "public", "max_body": 10},
    {"path": "/api/few", "methods": ["GET"], "allow": "public", "rate_limit": "1/hour"},
    {"path": "/pages/{path...}", "methods": ["GET"], "allow": "public", "browser": "passthrough"},
]


@pytest.fixture
def route_to(configure: Callable[..., None]) -> Callable[..., None]:
    """RouteTo the service at a URL behind every route."""

    def route_to(url: str, total: str = "200ms") -> None:
        configure(
            services={"things": {"url": url, "timeouts": {"total": total}}},
            versions={"current": "v1"},
            routes=[route | {"service": "things"} for route in ROUTES],
        )

    return route_to
