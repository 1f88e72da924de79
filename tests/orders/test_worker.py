"""How the service's processes share its connections."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.orders.serving import DEADLINE, ON_SQLITE, Service, measured, write_lock
from tests.system.stack import children, until

CONNECTIONS = 40
ORDER = '{"item": "book", "address": "Main street 1"}'


@pytest.fixture
def service(issuer, tmp_path):
    with Service(issuer, tmp_path, workers=2, environ=measured()) as running:
        yield running


def sockets_of(pid: int) -> int:
    """Return how many the process has open."""
    found = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += str(path.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return found


@pytest.mark.skipif(not ON_SQLITE, reason="it takes SQLite's lock to keep all threads at work")
def test_connections_that_come_at_once_are_shared_by_the_processes(service):
    workers = children(service.process.pid)
    # Who asked for its health has left.
    until(lambda: len(set(map(sockets_of, workers))) == 1, DEADLINE, "as many sockets in each")
    before = {pid: sockets_of(pid) for pid in workers}
    all_of_them = sum(before.values()) + CONNECTIONS
    headers, shares = service.headers() | {"Content-Type": "application/json"}, []
    for _ in range(3):
        with write_lock(service), ExitStack() as clients:
            for _ in range(CONNECTIONS):
                client = clients.enter_context(service.connected())
                client.request("POST", "/api/orders", ORDER, headers)
            until(lambda: sum(map(sockets_of, before)) >= all_of_them, DEADLINE, "all connections accepted")
            shares.append(min(sockets_of(pid) - count for pid, count in before.items()))
        until(lambda: {pid: sockets_of(pid) for pid in before} == before, DEADLINE, "all connections closed")
    # A busy machine may keep one of them from running for a while.
    assert max(shares) >= CONNECTIONS // 5, shares
