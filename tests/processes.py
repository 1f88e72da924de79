"""Processes of the projects that tests start."""

from http.client import HTTPConnection, HTTPException
from pathlib import Path

import coverage
from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[1]


def measured() -> dict[str, str]:
    """Return the environment in which coverage measures a process too, if it measures this one.

    The process saves its data when it ends.
    """
    here = coverage.Coverage.current()
    if here is None:
        return {}
    data = Path(str(here.get_option("run:data_file"))).absolute()
    return {"COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"), "COVERAGE_FILE": str(data)}


def children(pid: int) -> list[int]:
    """Return the child processes of a process; none once it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def ask(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Return the status, headers and body of a response; the status 0 while nothing listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    except (OSError, HTTPException):
        return 0, {}, b""
    finally:
        connection.close()
