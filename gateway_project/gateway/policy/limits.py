"""Rate limits by the generic cell rate algorithm (GCRA), as a pure function.

GCRA (ITU-T I.371, annex A) needs one number for each client, the theoretical arrival time: the
moment up to which the client has used its rate. Each request moves that moment on by one interval,
`seconds / count`. A request is accepted while the moment is at most one whole period in the future.
So a client may send the whole count at once, and after that one request in each interval. There is
no window at whose border twice the count gets through, and no list of past requests. A rejected
request moves nothing, and the distance to the limit is its `Retry-After` (RFC 9110, section 10.2.3).
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
    # Never more than a whole period ahead, also if the clock has been set back.
    used_up = min(max(previous, now), now + limit.seconds)
    following = used_up + interval * requests
    wait = following - (now + limit.seconds)
    if wait > SLACK * interval:
        return Verdict(admitted=False, next=used_up, retry_after=wait, remaining=0)
    remaining = int((now + limit.seconds - following) / interval + SLACK)
    return Verdict(admitted=True, next=following, retry_after=0.0, remaining=max(remaining, 0))
