"""A real Redis or Valkey server for tests, in a temporary directory."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from tests.ports import free_port
from tests.waiting import wait_until

DEADLINE = 60.0
PROGRAMS = ("valkey-server", "redis-server")


def program() -> str | None:
    """Return the path of the server, Debian's `valkey-server` or `redis-server`, if it is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class RedisServer:
    """A server, as a context manager. Its data ends with each stop."""

    def __init__(self) -> None:
        found = program()
        if found is None:
            reason = "no Redis or Valkey is installed (Debian: apt-get install redis-server)"
            if os.environ.get("REDIS_TESTS") == "required":
                pytest.fail(reason)
            pytest.skip(reason)
        self.program = found
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    def start(self) -> None:
        log = self.directory / "log"
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.directory}
        options |= {"logfile": log}
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        log.write_text("")
        self.process = subprocess.Popen([self.program, *arguments], start_new_session=True)
        wait_until(lambda: "eady to accept connections" in log.read_text(), "Redis to be ready", DEADLINE)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(DEADLINE)
            self.process = None
