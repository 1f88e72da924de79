"""How tests wait for what another process does: until it is so, however busy the machine is."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Seconds within which anything that will happen has happened. Only a test that fails takes this long.
DEADLINE = 60.0
# Seconds within which an ended session's tokens are refused: 2 are promised, and a busy machine adds to them.
ENDED_WITHIN = 8.0


def wait_until(condition: Callable[[], Any], what: str, within: float = DEADLINE) -> Any:
    """Return the condition's first true value; fail if there is none within that many seconds."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)
    return value


def whole_lines(log: Path) -> list[str]:
    """Return the lines of a file that another process writes, without one that is not complete yet."""
    return log.read_text().split("\n")[:-1]
