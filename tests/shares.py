"""How much the long tests do: everything, or the share in `LONG_SHARE`, such as 0.1."""

import os

SHARE = float(os.environ.get("LONG_SHARE") or 1)


def share(whole: int) -> int:
    """Return that share of the whole, 1 at least."""
    return max(1, round(whole * SHARE))
