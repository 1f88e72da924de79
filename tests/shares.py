"""How much the long tests do: everything, or the share in `LONG_SHARE`, such as 0.1."""

import os
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

SHARE = float(os.environ.get("LONG_SHARE") or 1)
SEED = int(os.environ.get("FUZZ_SEED") or 1)


def share(whole: int) -> int:
    """Return that share of the whole, 1 at least."""
    return max(1, round(whole * SHARE))


def long(rows: Sequence[Any]) -> list[Any]:
    """Return that share of the rows, chosen by `FUZZ_SEED`, for runs with `-m long`."""
    chosen = sorted(Random(SEED).sample(range(len(rows)), share(len(rows))))
    return [pytest.param(rows[number], marks=pytest.mark.long) for number in chosen]


def one_in(count: int, rows: Sequence[Any]) -> list[Any]:
    """Return one row in `count` for the default run, and the others as long ones."""
    return [*rows[::count], *long([row for number, row in enumerate(rows) if number % count])]
