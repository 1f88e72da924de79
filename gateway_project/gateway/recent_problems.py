"""The last requests that failed, with all that is known of them, for the dashboard.

Kept are responses of 500 and more, and the gateway's own of 400 and more. A 404 of a service is its own business.
All workers append JSON lines to one file of the state directory, each with one system call, so that a worker that is
killed loses nothing. A full file becomes the older one of two. A flood of errors is kept in part: a worker writes a
bounded number of them each second. A line has no query, body, token or header: those may be secrets.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gateway.policy.rejections import RequestRejected

# Bytes of each of the two files, some 5,000 requests.
CAPACITY: Final = 2 * 1024 * 1024
MAX_LINE: Final = 4096
MAX_PATH: Final = 500
# Bytes of the files that are read for the newest.
TAIL: Final = 128 * 1024
# Requests that a worker keeps in a second: rejections, and errors.
REJECTIONS: Final = 20
ERRORS: Final = 100

# What is known of a request.
Problem = dict[str, Any]


def described(rejected: RequestRejected | None) -> Problem:
    """Return what the gateway decided, if it has rejected the request."""
    if rejected is None:
        return {}
    found = {
        "code": rejected.problem_code,
        "detail": rejected.detail,
        "policy": rejected.policy,
        "limits": rejected.limits,
    }
    return found | {"user_id": rejected.identity.user_id} if rejected.identity else found


class RecentProblems:
    """The two files; each process has one of these."""

    def __init__(self, path: Path, capacity: int = CAPACITY) -> None:
        self.path = path
        self.older = path.with_suffix(".older.jsonl")
        self.capacity = capacity
        self.second = 0
        self.kept = [0, 0]

    def record(self, problem: Problem) -> None:
        """Append a request, with its time. A file that cannot be written keeps no request from its response."""
        now = time.time()
        if int(now) != self.second:
            self.second, self.kept = int(now), [0, 0]
        is_error = problem["status"] >= 500
        if self.kept[is_error] >= (ERRORS if is_error else REJECTIONS):
            return
        self.kept[is_error] += 1
        problem["path"] = problem["path"][:MAX_PATH]
        line = json.dumps({"time": round(now, 3), "worker": os.getpid()} | problem, separators=(",", ":")).encode()
        if len(line) < MAX_LINE:
            with suppress(OSError):
                self.append(line + b"\n")

    def append(self, line: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(line) > self.capacity:
                self.turn(descriptor)
            else:
                os.write(descriptor, line)
                return
        finally:
            os.close(descriptor)
        self.append(line)

    def turn(self, full: int) -> None:
        """Let the full file be the older one, unless another worker has done so."""
        fcntl.lockf(full, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.fstat(full).st_ino == self.path.stat().st_ino:
                self.path.replace(self.older)

    def newest(self, number: int) -> list[Problem]:
        found: list[Problem] = []
        for problem in self.lines(TAIL):
            if len(found) >= number:
                break
            found.append(problem)
        return found

    def of(self, request_id: str) -> list[Problem]:
        """Return what is kept of the requests with this id, the newest first: a client may send one id again."""
        wanted = json.dumps(request_id).encode()
        return [problem for problem in self.lines(self.capacity, wanted) if problem.get("request_id") == request_id]

    def lines(self, size: int, containing: bytes = b"") -> Iterator[Problem]:
        """Yield what the last bytes of each file have, the newest first."""
        for path in (self.path, self.older):
            for line in reversed(tail(path, size)):
                if containing in line:
                    with suppress(ValueError):
                        yield json.loads(line)


def tail(path: Path, size: int) -> Sequence[bytes]:
    """Return the complete lines in the last bytes of a file."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - size)
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return lines[1:] if start else lines
