"""What both fuzzers share: the gateway, the state of its worker, and the seed.

`FUZZ_SEED` repeats a run, `LONG_SHARE` makes it shorter. A failure contains the number of its input.
"""

import logging
import os
from collections.abc import Iterator
from random import SystemRandom
from typing import Any

import pytest
from tests.conformance.gateways import Gateway, free_port
from tests.conformance.wire import KIB, MIB, Service, memory, sockets, until

# Figures: `--log-cli-level=INFO` shows them.
log = logging.getLogger(__name__)
SEED = int(os.environ.get("FUZZ_SEED") or SystemRandom().randrange(2**32))
SERVICE = free_port()
MAX_BODY = 2 * KIB
CONFIG: dict[str, Any] = {
    # Malformed responses must not eject the service: each input has to reach it.
    "services": {"one": {"url": f"http://127.0.0.1:{SERVICE}", "eject": {"most": "0%"}}},
    "versions": {"current": "v1"},
    "routes": [
        {"path": "/api/open/{id}", "service": "one", "allow": "public", "max_body": MAX_BODY},
        {"path": "/api/users-only/{id}", "service": "one", "allow": "authenticated", "methods": ["GET", "POST"]},
        {"path": "/api/admins-only", "service": "one", "allow": ["admin"]},
        {"path": "/files/{path...}", "service": "one", "allow": "public", "methods": ["GET"], "browser": "passthrough"},
        {"path": "/ws", "service": "one", "allow": "public", "methods": ["GET"], "websocket": True},
        {"path": "/fuzz/{n}", "service": "one", "allow": "public", "timeouts": {"total": "400ms"}},
    ],
}
PARALLEL = 32
# Seconds that one connection's inputs may take: fewer than each timeout of the gateway that would end a hang.
NO_HANG = 15


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway, one worker, at its fast door."""
    with Gateway("fast", tmp_path_factory.mktemp("fuzz") / "var", CONFIG) as gateway:
        yield gateway


def state_of(gateway: Gateway, service: Service) -> tuple[int, int, int]:
    """Return the worker's process id, its sockets but for those to the service, and its memory."""
    (pid,) = gateway.worker_pids()
    return pid, sockets(pid) - len(service.open), memory(pid)


async def same_as_before(gateway: Gateway, service: Service, before: tuple[int, int, int]) -> None:
    """Assert that the worker still runs, and holds no more sockets and not much more memory."""
    pid, count, resident = before
    assert gateway.worker_pids() == [pid]
    await until(lambda: sockets(pid) - len(service.open) <= count, "the worker's sockets are closed")
    log.info("memory +%.1f MiB", (memory(pid) - resident) / MIB)
    assert len(service.open) <= 256
    # What the allocator keeps for the next large requests, whether they were a thousand or a hundred thousand.
    assert memory(pid) - resident < 96 * MIB
