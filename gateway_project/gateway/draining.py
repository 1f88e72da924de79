"""Whether the gateway is stopping: its master sets this at SIGTERM, and /readyz is 503 from then on."""

import mmap
from typing import Final

# One byte that the master shares with the workers that it forks. Without a master it stays 0.
_STATE: Final = mmap.mmap(-1, 1)


def begin() -> None:
    """Have /readyz respond with 503, so that load balancers stop sending requests."""
    _STATE[0] = 1


def is_draining() -> bool:
    return _STATE[0] == 1
