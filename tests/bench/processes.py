"""Processes of a benchmark: started in sessions of their own, watched through /proc, and gone afterwards."""

import os
import platform
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

STARTS_WITHIN = 30
STOPS_WITHIN = 20


class BenchError(Exception):
    """The benchmark cannot go on; the message says why, and what to do."""


@dataclass(frozen=True)
class Server:
    """A server on a port of the loopback address: the id of its processes' session, and the seconds of its start."""

    port: int
    session: int
    started: float = 0.0


def ask(port: int, path: str, headers: Mapping[str, str] | None = None, body: str | None = None) -> tuple[int, str]:
    """Return status and body of the answer to a GET, or to a POST of the body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def served(
    command: Sequence[str], port: int, log: Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Server]:
    """Run the command until the block ends; the block begins once its port answers HTTP."""
    began = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environ or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = began + STARTS_WITHIN
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                end = "\n".join(log.read_text().splitlines()[-15:])
                raise BenchError(f"expected {' '.join(command)} to answer within {STARTS_WITHIN} s\n{end}")
            with suppress(OSError, HTTPException):
                if ask(port, "/")[0] < 500:
                    break
            time.sleep(0.01)
        yield Server(port, process.pid, time.monotonic() - began)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def statuses() -> Iterator[tuple[int, list[str]]]:
    """Yield each process's id and the fields of its /proc/PID/stat from the third on (proc(5))."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        # The process may end before the read.
        with suppress(OSError):
            # The second field is the name, in parentheses, and may hold spaces and parentheses itself.
            yield int(path.parent.name), path.read_text().rpartition(")")[2].split()


def cpu_seconds(session: int) -> float:
    """Return the CPU time, user and system, that the threads of the session's processes have used."""
    used = 0
    for pid, fields in statuses():
        if int(fields[3]) == session:
            # In nanoseconds, where /proc/PID/stat counts hundredths of a second.
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with suppress(OSError):
                    used += int(path.read_text().split()[0])
    return used / 1e9


def memory_mib(session: int) -> float:
    """Return the memory of the session's processes, with their share of what they share."""
    kib = 0
    for pid, fields in statuses():
        if int(fields[3]) == session:
            with suppress(OSError):
                found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
                kib += int(found[1]) if found else 0
    return kib / 1024


def interpreter() -> str:
    """Return the version of this Python, and whether it was built with profile-guided optimization."""
    # Debian and Fedora build theirs with it, whatever their configuration says.
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimized = "--enable-optimizations" in arguments or sys.base_prefix == "/usr"
    return f"Python {platform.python_version()} built {'with' if optimized else 'without'} PGO"


def kill_children() -> None:
    """Kill what is left of our own: a signal can come between a process's start and the block that stops it."""
    for pid, fields in statuses():
        if int(fields[1]) == os.getpid():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
