"""How much the long tests do: all of it, or the share that `LONG_SHARE` says, such as 0.1."""

import os

SHARE = float(os.environ.get("LONG_SHARE") or 1)


def share(whole: int) -> int:
    """Return so much of it, 1 at least."""
    return max(1, round(whole * SHARE))
