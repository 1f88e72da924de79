"""Waits for conditions that another process fulfils, on a machine of any load."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Seconds within which every awaited event happens. Only a failing test waits this long.
DEADLINE = 60.0
# Seconds within which the tokens of an ended session are rejected: 2 are promised, a busy machine adds more.
ENDED_WITHIN = 8.0


def wait_until(condition: Callable[[], Any], what: str, within: float = DEADLINE) -> Any:
    """Return the condition's first true value; fail after this many seconds."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)
    return value


def whole_lines(log: Path) -> list[str]:
    """Return the complete lines of a file that another process writes."""
    return log.read_text().split("\n")[:-1]
