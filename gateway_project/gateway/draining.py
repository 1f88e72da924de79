"""Whether the gateway is being stopped: its master says so at SIGTERM, and /readyz is 503 from then on."""

import mmap
from typing import Final

# One byte that the master shares with the workers that it forks. Without a master, nobody sets it.
_STATE: Final = mmap.mmap(-1, 1)


def begin() -> None:
    """Have /readyz respond with 503, so that load balancers stop sending requests."""
    _STATE[0] = 1


def is_draining() -> bool:
    return _STATE[0] == 1
