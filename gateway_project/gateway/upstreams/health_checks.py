"""Active checks of the addresses of services: a GET of `health.path` each `health.interval`.

One process of a machine checks for all: the one that has locked the file. It writes the results there; the others read
them each `POLL` and apply them to their own addresses. If it ends, the system unlocks the file, and another one checks.

A service's only address is not checked: there is no other to send requests to, and requests show how it is.
"""

import asyncio
import contextvars
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from gateway.config import HealthCheck, Timeouts
from gateway.policy.rejections import RequestRejected, UpstreamError

from .pools import ConnectError, Pool
from .requests import NO_BODY, UpstreamRequest

log = logging.getLogger(__name__)

# Seconds between two looks at the results, or at what has to be checked.
POLL: Final = 0.5


class Checked:
    """The last checks of one address."""

    def __init__(self) -> None:
        self.due = 0.0
        self.task: asyncio.Task[None] | None = None
        # Checks in a row with the same result, and the one that is in force: an error, or empty.
        self.streak = 0
        self.last_good = True
        self.error = ""

    def note(self, error: str, check: HealthCheck) -> None:
        """Note a check; so many in a row change the result."""
        good = not error
        self.streak = self.streak + 1 if good is self.last_good else 1
        self.last_good = good
        if self.streak >= (check.healthy if good else check.unhealthy):
            self.error = error


class HealthChecks:
    """The checks of all services. `targets` returns the addresses to check now, each with how."""

    def __init__(self, path: Path, targets: Callable[[], Iterable[tuple[Pool, HealthCheck]]]) -> None:
        self.path = path
        self.targets = targets
        self.descriptor: int | None = None
        self.is_checker = False
        self.checked: dict[str, Checked] = {}
        self.written = ""
        # The last results that were read.
        self.last: dict[str, str] = {}
        self.task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, on the loop."""
        # In an empty context: it belongs to no request.
        self.task = loop.create_task(self.run(loop), context=contextvars.Context())

    async def run(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await asyncio.sleep(POLL)
            targets = {key_of(pool): (pool, check) for pool, check in self.targets()}
            try:
                if not self.is_checker and not self.lock():
                    self.apply(self.read(), targets)
                    continue
                self.check(loop, targets)
                results = {key: checked.error for key, checked in self.checked.items() if checked.error}
                self.write(results)
                self.apply(results, targets)
            except (OSError, ValueError) as exc:
                log.error("The results of health checks cannot be shared: %s", exc)  # noqa: TRY400
                return

    def lock(self) -> bool:
        """Return whether this process checks from now on; close-on-exec and the process's end unlock the file."""
        if self.descriptor is None:
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.is_checker = True
        return True

    def check(self, loop: asyncio.AbstractEventLoop, targets: dict[str, tuple[Pool, HealthCheck]]) -> None:
        """Begin the checks that are due."""
        self.checked = {key: self.checked.get(key) or Checked() for key in targets}
        for key, (pool, check) in targets.items():
            checked = self.checked[key]
            if loop.time() >= checked.due and (checked.task is None or checked.task.done()):
                checked.due = loop.time() + check.interval
                checked.task = loop.create_task(self.ask(pool, check, checked))

    async def ask(self, pool: Pool, check: HealthCheck, checked: Checked) -> None:
        checked.note(await error_of(pool, check), check)

    def write(self, results: dict[str, str]) -> None:
        """Write the results in place, since the lock is on this file; a reader ignores half of them."""
        text = json.dumps(results)
        if text != self.written and self.descriptor is not None:
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, text.encode(), 0)
            self.written = text

    def read(self) -> dict[str, str]:
        """Return the results of the process that checks."""
        try:
            results: Any = json.loads(self.path.read_bytes() or b"{}")
        except ValueError:
            return self.last
        self.last = results if isinstance(results, dict) else {}
        return self.last

    def apply(self, results: dict[str, str], targets: dict[str, tuple[Pool, HealthCheck]]) -> None:
        """Eject the addresses whose check fails, and bring back those whose check succeeds."""
        for key, (pool, _) in targets.items():
            pool.ejection.checked(results.get(key, ""))

    def close(self) -> None:
        """End the checks, and let another process go on."""
        for checked in self.checked.values():
            if checked.task:
                checked.task.cancel()
        if self.task:
            self.task.cancel()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def key_of(pool: Pool) -> str:
    """Return what all processes call the address."""
    return f"{pool.service} {pool.address.authority}{pool.address.base} {pool.label}"


async def error_of(pool: Pool, check: HealthCheck) -> str:
    """Return what is wrong with the address; empty if its health path responds with 2xx in time."""
    timeouts = Timeouts().model_copy(update={"connect": check.timeout, "total": check.timeout})
    request = UpstreamRequest(pool.service, "GET", check.path, [], NO_BODY, timeouts)
    try:
        connection = await pool.connect(check.timeout)
        response = connection.round_trip(request, pool.loop.time() + check.timeout)
        try:
            while await response.piece():
                pass
            return "" if response.status // 100 == 2 else f"responded with {response.status}"
        finally:
            response.release()
    except ConnectError as exc:
        return exc.error.reason
    except UpstreamError as exc:
        return exc.reason
    except RequestRejected as exc:
        return exc.detail
