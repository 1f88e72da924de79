"""A gateway in this process, in front of real services."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from tests.disks import small_disk
from tests.gateway.runtimes import renew, runtime
from tests.gateway.service import Answer, Reply, Service
from tests.static_files import static_files_listed_once  # noqa: F401  # a fixture

from gateway.identity import tokens


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as place:
        yield place


@pytest.fixture(autouse=True)
def state(tmp_path: Path, settings: Any) -> Iterator[None]:
    """Each test has its own state directory, and a runtime of its own."""
    settings.STATE = tmp_path
    settings.KEYS = tmp_path / "keys"
    renew()
    yield
    renew()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """Start services that stop with the test."""
    running: list[Service] = []

    def start(answer: Answer = lambda seen: Reply()) -> Service:
        running.append(Service(answer))
        return running[-1]

    yield start
    for service in running:
        service.stop()


@pytest.fixture
def configure(tmp_path: Path, settings: Any) -> Callable[..., None]:
    """Put a gateway.yaml in force."""

    def write(**config: Any) -> None:
        path = tmp_path / "gateway.yaml"
        # JSON is YAML, and has no aliases.
        path.write_text(json.dumps({"version": 1, "services": {}, "routes": []} | config))
        settings.GATEWAY_CONFIG = path
        renew()

    return write


@pytest.fixture
def client() -> Client:
    """A client of the gateway, to which a 500 is an answer and not an exception."""
    return Client(raise_request_exception=False, headers={"Host": "testserver"})


def bearer(user_id: str = "2", role: str = "default", session: str = "s2", **claims: Any) -> dict[str, str]:
    """Return the header of a signed-in user."""
    token = tokens.AccessToken(runtime().token_backend)
    token.payload |= {"sub": user_id, "username": "user", "role": role, "sid": session} | claims
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def signed_in() -> Callable[..., dict[str, str]]:
    """Make the header of a signed-in user."""
    return bearer
