"""How long a retry waits: at random, so that the retries of many requests do not meet, and not before `Retry-After`."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from .headers import values

# Seconds of the first back-off at most, and of any: Envoy's.
BASE: Final = 0.025
LONGEST: Final = 0.25


def backoff(tries: int) -> float:
    """Return the seconds before the next try, after so many: full jitter over 25, 75, 175 and then 250 ms."""
    return random.uniform(0, min(LONGEST, BASE * (2**tries - 1)))  # noqa: S311  # no secret


def retry_after(headers: Iterable[tuple[str, str]], now: datetime | None = None) -> float:
    """Return the seconds of a response's `Retry-After`, which is a number or a date; 0 without one that is valid."""
    value = next(iter(values(headers, "retry-after")), "").strip(" \t")
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    # A date without a zone is GMT (RFC 9110, section 5.6.7).
    at = at.replace(tzinfo=at.tzinfo or UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
