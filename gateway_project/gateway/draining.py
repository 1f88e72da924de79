"""Whether the gateway is being stopped: its master says so at SIGTERM, and /readyz is 503 from then on."""

import mmap
from typing import Final

# One byte that the master shares with the workers that it forks. Without a master, nobody sets it.
_STATE: Final = mmap.mmap(-1, 1)


def begin() -> None:
    """Let load balancers know that this gateway is going."""
    _STATE[0] = 1


def is_draining() -> bool:
    """Return whether it is going."""
    return _STATE[0] == 1
