"""What each worker knows of the services' addresses, and all of them of the callers of deprecated routes.

`manage.py status` asks at a socket of each worker.

The sockets are files of the state directory, named after the process, which only the gateway's user can open.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import callers, configuration, in_force
from .config import Route
from .upstreams import Pools


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Yield a short name of the path: that of a socket has at most 107 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class StatusSocket:
    """A worker's socket. Each connection gets the worker's status, and is closed."""

    def __init__(self, state: Path, pools: Pools, routes: Sequence[Route] = ()) -> None:
        self.path = folder_of(state) / str(os.getpid())
        self.pools = pools
        self.routes = routes
        self.started = time.time()
        # When the gateway.yaml in force was taken up.
        self.config_since = self.started
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with short(self.path) as name:
            listener.bind(name)
        self.server = await asyncio.start_unix_server(self.respond, sock=listener)

    async def respond(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        services = {name: balancer.status() for name, balancer in self.pools.services.items()}
        digest = configuration.loaded.digest if configuration.loaded else ""
        status = {
            "pid": os.getpid(),
            "started": self.started,
            "services": services,
            "config": {"sha256": digest[: configuration.DIGITS], "since": self.config_since},
            "rejected": rejection._asdict() if (rejection := in_force.rejection()) else None,
            "queues": self.pools.plans.status(),
            # Of all workers.
            "deprecated": list(callers.report(self.routes)),
        }
        writer.write(json.dumps(status).encode())
        writer.close()

    def close(self) -> None:
        if self.server:
            self.server.close()
        self.path.unlink(missing_ok=True)


def folder_of(state: Path) -> Path:
    return state / "workers"


def statuses(state: Path, within: float = 5.0) -> Iterator[dict[str, Any]]:
    """Yield the status of each worker that responds within so many seconds, and remove the sockets of others."""
    for path in sorted(folder_of(state).glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            yield ask(path, within)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except (OSError, ValueError):
            # It has just ended.
            continue


def ask(path: Path, within: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client, short(path) as name:
        client.settimeout(within)
        client.connect(name)
        content = b"".join(iter(lambda: client.recv(65536), b""))
    status: dict[str, Any] = json.loads(content)
    return status
