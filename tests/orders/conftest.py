"""A real issuer of passports, and a client that sends them as the gateway does."""

from collections.abc import Callable, Iterator

import pytest
from tests.issuer import Api, Issuer, trust


@pytest.fixture(scope="session", autouse=True)
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        trust(running.url)
        yield running


@pytest.fixture
def user(issuer: Issuer) -> Callable[..., Api]:
    """Return the client of a user: `user(1)`, `user(2, role="admin")`."""
    return lambda user_id=1, role="default": Api(issuer, "orders", user_id, role)
