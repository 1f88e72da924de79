"""Both doors, each with and without a trusted proxy, started once; one service behind all of them."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from tests.conformance import faults
from tests.conformance.cases.routes import LIMITS, ROUTES
from tests.conformance.doors import doors, gateway, worker
from tests.conformance.gateways import DOORS, Door, Gateway, migrated_state
from tests.conformance.upstream import Upstream

__all__ = ["doors", "gateway", "worker"]
# By door, and whether the gateway trusts this machine as a proxy.
Fleet = Mapping[tuple[Door, bool], Gateway]
TRUSTING = {"TRUSTED_PROXIES": "127.0.0.0/8"}


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """The service that records and responds."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def faulty() -> Iterator[faults.FaultyService]:
    """The service that fails in every way."""
    with faults.FaultyService() as service:
        yield service


@pytest.fixture(scope="session")
def fleet(
    upstream: Upstream,
    faulty: faults.FaultyService,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Fleet]:
    """The gateways of the doors that the chosen tests use."""
    chosen = {item.callspec.params.get("door") for item in request.session.items if hasattr(item, "callspec")}
    with started(upstream, faulty, tmp_path_factory, [door for door in DOORS if door in chosen]) as gateways:
        yield gateways


@contextmanager
def started(
    upstream: Upstream, faulty: faults.FaultyService, places: pytest.TempPathFactory, doors: Sequence[Door]
) -> Iterator[Fleet]:
    """Start the gateways of these doors."""
    services: dict[str, Any] = {
        "echo": {"url": upstream.url, "retry": {"attempts": 1}},
        "based": {"url": f"{upstream.url}/base"},
    }
    services |= {"appended": {"url": upstream.url, "trailing_slash": "append"}}
    services |= {"passed": {"url": upstream.url, "pass_authorization": True}}
    services |= {"kept": {"url": upstream.url, "host": "keep"}}
    config = {
        "services": services | faulty.services(),
        "versions": {"current": "v1"},
        "limits": LIMITS,
        "routes": [{"service": "echo"} | route for route in ROUTES] + faults.ROUTES,
    }
    gateways = {
        (door, trusted): Gateway(door, places.mktemp(door) / "var", config, environ=TRUSTING if trusted else {})
        for door in doors
        for trusted in (False, True)
    }
    migrated_state()
    with ExitStack() as running, ThreadPoolExecutor() as starting:
        futures = [starting.submit(gateway.__enter__) for gateway in gateways.values()]
        for future in futures:
            if future.exception() is None:
                running.push(future.result())
        for future in futures:
            future.result()
        yield gateways
