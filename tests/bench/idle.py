"""The memory of a gateway with 10,000 idle connections, and one request of each of 10,000 users."""

import resource
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .load import LOADS, Load
from .paced import is_whole
from .processes import BenchError, Server, memory_mib

COUNT = 10_000
# Descriptors beside those of the connections.
SPARE = 500


@dataclass(frozen=True)
class Idle:
    """Memory in MiB: without connections, and with that many."""

    alone: float
    crowded: float
    connections: int

    @property
    def kib_each(self) -> float:
        """The memory of a connection."""
        return (self.crowded - self.alone) * 1024 / self.connections


def raise_descriptors() -> int:
    """Let this process and its children have as many descriptors as the system allows; return how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def idle(server: Server, token: str) -> Idle:
    """Open the connections, each with one request and its response, and leave them open."""
    request = LOADS[0].text(token).encode()
    count = min(COUNT, raise_descriptors() - SPARE)
    alone = memory_mib(server.session)
    with ExitStack() as opened:
        for _ in range(count):
            ask_on(opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30)), request)
        return Idle(alone, memory_mib(server.session), count)


def visit(server: Server, load: Load, users: Path) -> None:
    """Send a request of each user, so that the gateway has verified each token before it is measured."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        for token in (users / load.users).read_text().split():
            text = load.text(token).replace("@TOKEN@", token).replace("@PATH@", "0/0")
            ask_on(connection, text.encode())


def ask_on(connection: socket.socket, request: bytes) -> None:
    """Send the request, and receive the whole response."""
    connection.sendall(request)
    response = b""
    while not is_whole(response):
        received = connection.recv(65536)
        if not received:
            raise BenchError("expected a response, and the connection to stay open")
        response += received
