"""The addresses of the services' names, resolved again and again in the background.

A service that moves keeps its name. Its addresses are resolved each `INTERVAL`, and soon after a connection has failed.
Until the first result, and while a name cannot be resolved, what is known stays in use. A name that has lost an address
is resolved each `MIN_INTERVAL` for a while: its replica may restart, and be needed when the next one does.

A name with IPv6 and IPv4 addresses usually names the same machines twice, and one of the two networks may not work from
here. So the first address of each family is connected to, the first family `HEAD_START` ahead, and the family that
connects first is used (Happy Eyeballs: RFC 8305, section 5). The race takes place when the addresses have changed or a
connection has failed, not for each connection.
"""

import asyncio
import contextvars
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from math import inf
from typing import Any, Final

from .addresses import Address

# Seconds between two resolutions, and at least between two after failures.
INTERVAL: Final = 30.0
MIN_INTERVAL: Final = 1.0
# Seconds for which the loss of an address counts as a restart.
RESTART: Final = 120.0
# Seconds by which the first family is ahead: RFC 8305's recommendation.
HEAD_START: Final = 0.25

# `getaddrinfo` of an event loop.
LookUp = Callable[..., Awaitable[Sequence[tuple[Any, Any, int, str, tuple[Any, ...]]]]]


def is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


class Name:
    """A host's name in a service's URL. `use` gets its IP addresses, and again when they change."""

    def __init__(
        self, address: Address, connect_timeout: float, look_up: LookUp, use: Callable[[Sequence[str]], None]
    ) -> None:
        self.address = address
        self.look_up = look_up
        self.connect_timeout = connect_timeout
        self.use = use
        self.resolved: list[tuple[int, str]] = []
        # Whether a connection has failed since it was resolved.
        self.is_in_doubt = False
        # Until when a lost address may come back.
        self.restarts_until = -inf

    async def resolve(self) -> None:
        """Resolve the name; where that fails, what is known stays in use."""
        is_in_doubt, self.is_in_doubt = self.is_in_doubt, False
        try:
            found = await self.look_up(self.address.host, self.address.port, type=socket.SOCK_STREAM)
        except OSError:
            return
        resolved = list(dict.fromkeys((int(family), str(where[0])) for family, _, _, _, where in found))
        if sorted(resolved) == sorted(self.resolved) and not is_in_doubt:
            return
        if len(resolved) < len(self.resolved):
            self.restarts_until = time.monotonic() + RESTART
        self.resolved = resolved
        family = await self.family(resolved)
        self.use([ip for each, ip in resolved if each == family])

    async def family(self, resolved: list[tuple[int, str]]) -> int:
        """Return the family that connects first, by the first address of each."""
        firsts: dict[int, str] = {}
        for family, ip in resolved:
            firsts.setdefault(family, ip)
        if len(firsts) == 1:
            return resolved[0][0]
        racing: dict[asyncio.Task[bool], int] = {}
        try:
            for family, ip in firsts.items():
                racing[asyncio.create_task(self.can_connect(ip))] = family
                if (winner := await first_true(racing, HEAD_START)) is not None:
                    return winner
            winner = await first_true(racing, self.connect_timeout)
        finally:
            for task in racing:
                task.cancel()
        return resolved[0][0] if winner is None else winner

    async def can_connect(self, ip: str) -> bool:
        try:
            async with asyncio.timeout(self.connect_timeout):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    asyncio.Protocol, ip, self.address.port
                )
        except (OSError, TimeoutError):
            return False
        transport.abort()
        return True


async def first_true(racing: dict[asyncio.Task[bool], int], within: float) -> int | None:
    """Return the family of the first task that succeeds; `None` if none does within so many seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        for task, family in racing.items():
            if task.done() and task.result():
                return family
        pending = [task for task in racing if not task.done()]
        left = deadline - loop.time()
        if not pending or left <= 0:
            return None
        await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)


class Resolution:
    def __init__(self, names: Sequence[Name], loop: asyncio.AbstractEventLoop) -> None:
        self.names = names
        self.loop = loop
        self.wanted = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        # In an empty context: it belongs to no request.
        self.task = self.loop.create_task(self.run(), context=contextvars.Context())

    async def run(self) -> None:
        while True:
            self.wanted.clear()
            await asyncio.gather(*(name.resolve() for name in self.names))
            await asyncio.sleep(MIN_INTERVAL)
            if any(time.monotonic() < name.restarts_until for name in self.names):
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL - MIN_INTERVAL):
                    await self.wanted.wait()

    def close(self) -> None:
        if self.task:
            self.task.cancel()
