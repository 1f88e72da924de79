"""Both doors in front of one service, which a test plays itself: `async with Service(SERVICE, handler)`.

The fixtures are for a conftest to import. A door starts when a test first uses it.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.client import Reply
from tests.conformance.gateways import Door, Gateway, free_port
from tests.conformance.wire import Call, Handler, answer, content
from tests.waiting import wait_until

SERVICE, DOWN = free_port(), free_port()
CONFIG: dict[str, Any] = {
    "services": {"one": {"url": f"http://127.0.0.1:{SERVICE}", "max_in_flight": 4096}, "down": {"url": f"http://127.0.0.1:{DOWN}"}},
    "routes": [
        {"path": "/small/{path...}", "service": "one", "allow": "public"},
        {"path": "/medium/{path...}", "service": "one", "allow": "public", "max_body": "16MiB"},
        {"path": "/large/{path...}", "service": "one", "allow": "public", "max_body": "2GiB",
         "timeouts": {"total": "10m"}},
        {"path": "/short/{path...}", "service": "one", "allow": "public", "timeouts": {"total": "1s"}},
        {"path": "/compressed/{path...}", "service": "one", "allow": "public", "compress": True,
         "timeouts": {"total": "10m"}},
        {"path": "/ws/{path...}", "service": "one", "allow": "public", "websocket": True},
        {"path": "/ws-users/{path...}", "service": "one", "allow": "authenticated", "websocket": True},
        {"path": "/ws-admins/{path...}", "service": "one", "allow": ["admin"], "websocket": True},
        {"path": "/ws-down", "service": "down", "allow": "public", "websocket": True},
    ],
}  # fmt: skip
PAGE = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class Doors:
    """The running gateways, by door."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.started: dict[Door, Gateway] = {}
        self.running = ExitStack()

    def __getitem__(self, door: Door) -> Gateway:
        if door not in self.started:
            self.started[door] = self.running.enter_context(Gateway(door, self.place / door / "var", CONFIG))
        return self.started[door]


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """Both doors, one worker each. Their logs must not contain a fault of the gateway at the end."""
    doors = Doors(tmp_path_factory.mktemp("doors"))
    with doors.running:
        yield doors
        for gateway in doors.started.values():
            assert faults_in(gateway) == []


@pytest.fixture
def gateway(doors: Doors) -> Gateway:
    """The fast door."""
    return doors["fast"]


@pytest.fixture
def worker(gateway: Gateway) -> int:
    """The process id of the fast door's worker, once those before a reload have ended."""
    wait_until(lambda: len(gateway.worker_pids()) == 1, "one worker")
    return gateway.worker_pids()[0]


def faults_in(gateway: Gateway) -> list[str]:
    """Return the lines of the log that no client and no service may cause."""
    signs = ('"exc_info"', '"level": "ERROR"', '"level": "CRITICAL"', "Traceback", "never awaited", "never retrieved")
    return [line for line in gateway.log.read_text().splitlines() if any(sign in line for sign in signs)]


# Services.


async def ok(call: Call) -> None:
    """Respond with the target, and the size and checksum of the body."""
    got = await call.sum()
    await call.wire.send(answer(f"{call.target} {got.size} {got.crc}".encode()))


def is_ok(reply: Reply) -> bool:
    return reply.status == 200


def giver(chunked: bool, kind: str = "") -> Handler:
    """Return a service whose response has as many bytes as the path's last segment says."""

    async def give(call: Call) -> None:
        size = int(call.target.rpartition("/")[2])
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        headers = [framing, f"Content-Type: {kind}"] if kind else [framing]
        await call.wire.send("\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode())
        if chunked:
            await call.wire.send_chunks(content(size))
        else:
            for piece in content(size):
                await call.wire.send(piece)

    return give
