"""Rate limits as a pure function: the generic cell rate algorithm (GCRA), which needs one number a client.

The number is the moment at which the client would have used up nothing, had it kept to an even pace. Each request
moves it on by the pace's interval; a request is admitted while it lies no more than the whole burst ahead.
"""

from typing import NamedTuple

from gateway.config import RateLimit

# A share of an interval by which floating-point sums of intervals may miss their exact value.
SLACK = 0.01


class Verdict(NamedTuple):
    """`next` is to be passed as `previous` next time; `retry_after` is in seconds, 0 if the request is admitted."""

    admitted: bool
    next: float
    retry_after: float
    remaining: int


def admit(previous: float, now: float, limit: RateLimit, requests: int = 1) -> Verdict:
    """Return whether so many more requests are admitted, all together, at `now` (seconds).

    `previous` is the last verdict's `next`, 0 for a new client. A client that was away may use the whole count at once.
    """
    interval = limit.seconds / limit.count
    # Never more than a whole period ahead, also if the clock has been set back meanwhile.
    used_up = min(max(previous, now), now + limit.seconds)
    following = used_up + interval * requests
    wait = following - (now + limit.seconds)
    if wait > SLACK * interval:
        return Verdict(admitted=False, next=used_up, retry_after=wait, remaining=0)
    remaining = int((now + limit.seconds - following) / interval + SLACK)
    return Verdict(admitted=True, next=following, retry_after=0.0, remaining=max(remaining, 0))
