"""How long one waits to sign in again after failures: some tries are free, then each failure doubles the wait.

Failures count for a username, for a client's network, and for both together. One is forgiven each time that the longest
wait passes.
"""

import math
import unicodedata
from typing import NamedTuple


class Allowance(NamedTuple):
    """How many failures cost nothing, and the longest wait, in seconds."""

    free: int
    longest: float


class Failures(NamedTuple):
    """How many failures weigh, as of the last try's moment (Unix seconds)."""

    weight: float = 0.0
    at: float = 0.0


NONE = Failures()


def weight(failures: Failures, now: float, allowance: Allowance) -> float:
    """Return how many failures still count at `now`; a clock that was set back removes none."""
    return max(failures.weight - max(now - failures.at, 0.0) / allowance.longest, 0.0)


def wait(failures: Failures, now: float, allowance: Allowance) -> float:
    """Return the seconds until the next attempt: 1, 2, 4 and so on after the last free failure."""
    excess = round(failures.weight) - allowance.free
    if excess < 0:
        return 0.0
    delay = min(2.0**excess, allowance.longest)
    return min(max(failures.at + delay - now, 0.0), delay)


def failed(failures: Failures, now: float, allowance: Allowance) -> Failures:
    """Return the weight after one more failure, up to the longest wait."""
    most = allowance.free + math.ceil(math.log2(allowance.longest))
    return Failures(min(weight(failures, now, allowance) + 1, most), now)


def taken_back(failures: Failures) -> Failures:
    """Return the weight without the last attempt, which did not fail."""
    return failures._replace(weight=max(failures.weight - 1, 0.0))


def unjudged(failures: Failures, allowance: Allowance) -> Failures:
    """Return the weight after an attempt of unknown outcome.

    It counts, but only up to the first wait, of a second. So guessing gets no further while the service fails, and a
    user who keeps trying then is not locked out afterwards.
    """
    return failures if round(failures.weight) <= allowance.free else taken_back(failures)


def username(name: str) -> str:
    """Return the name in a form that all its spellings at the login service share."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
