"""A real issuer of passports, and a client that sends them as the gateway does."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from tests.conftest import pytest_configure  # noqa: F401  # a hook
from tests.issuer import Issuer, trust

JSON = "application/json"


@pytest.fixture(scope="session", autouse=True)
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        trust(running.url)
        yield running


class Api:
    """Calls the service as the gateway does for one user. A fault is the 500 that a client would see."""

    def __init__(self, issuer: Issuer, user_id: int, role: str) -> None:
        passport = issuer.passport(user_id, audience="shop", role=role)
        self.headers = {"authorization": f"Bearer {passport}", "request-user-id": str(user_id)}
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, query: dict[str, Any] | None = None, **headers: str) -> HttpResponse:
        return self.client.get(path, query, headers=self.headers | headers)

    def post(self, path: str, body: object = None, content_type: str = JSON, **extra: Any) -> HttpResponse:
        """Post the value as JSON; text and bytes go as they are."""
        raw = body if isinstance(body, (str, bytes)) else b"" if body is None else json.dumps(body)
        # Not `client.post`, which would encode the body in the content type's charset.
        return self.client.generic("POST", path, raw, content_type=content_type, headers=self.headers, **extra)


@pytest.fixture
def user(issuer: Issuer) -> Callable[..., Api]:
    """Return the client of a user: `user(1)`, `user(2, role="admin")`."""
    return lambda user_id=1, role="default": Api(issuer, user_id, role)
