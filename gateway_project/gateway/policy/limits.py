"""Rate limits by the generic cell rate algorithm (GCRA), as pure functions.

GCRA (ITU-T I.371, annex A) needs one number for each client, the theoretical arrival time: the
moment up to which the client has used its rate. Each request moves that moment on by one interval,
`seconds / count`. A request is accepted while the moment is at most `burst` intervals in the future;
without a `burst`, one whole period. So a client may send the whole burst at once, and after that one
request in each interval. There is no window at whose border twice the count gets through, and no list
of past requests. A rejected request moves nothing, and the distance to the limit is its `Retry-After`
(RFC 9110, section 10.2.3).

A route may have several limits. All of them decide on each request, and a request that one of them
rejects counts in none: a client that is over one limit does not use up the others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol

from gateway.config import Config, RateLimit, Route

from . import paths
from .access import Identity
from .headers import Headers, values
from .rejections import RateLimited

# A share of an interval by which floating-point sums of intervals may miss their exact value.
SLACK: Final = 0.01
# Characters of a header or parameter that a count is kept under; a longer one is hashed.
MAX_VALUE: Final = 100
# The name of a rate that has none.
UNNAMED: Final = "default"


@dataclass(slots=True)
class Verdict:
    """`next` is to be passed as `previous` next time. `wait` is in seconds, until one more request than `remaining`
    is admitted: of a rejected request its `Retry-After`.
    """

    admitted: bool
    next: float
    wait: float
    remaining: int


def admit(previous: float, now: float, limit: RateLimit, requests: int = 1) -> Verdict:
    """Return whether so many more requests are admitted, all together, at `now` (seconds). None counts nothing.

    `previous` is the last verdict's `next`, 0 for a new client. A client that was away may use the whole burst at once.
    """
    interval = limit.seconds / limit.count
    end = now + (interval * limit.burst if limit.burst else limit.seconds)
    # Never beyond the end, also if the clock has been set back.
    used_up = min(max(previous, now), end)
    following = used_up + interval * requests
    if requests and following - end > SLACK * interval:
        return Verdict(admitted=False, next=used_up, wait=following - end, remaining=0)
    remaining = int((end - following) / interval + SLACK)
    remaining = max(remaining, 0)
    return Verdict(True, following, following + interval * (remaining + 1) - end, remaining)


def decide(previous: Sequence[float], now: float, limits: Sequence[RateLimit]) -> list[Verdict]:
    """Return the verdict of each limit on one request, which counts in all of them or in none."""
    verdicts = [admit(moment, now, limit) for moment, limit in zip(previous, limits, strict=True)]
    if all(verdict.admitted for verdict in verdicts):
        return verdicts
    return [
        admit(moment, now, limit, 0) if verdict.admitted else verdict
        for verdict, moment, limit in zip(verdicts, previous, limits, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class RouteLimit:
    """One limit of a route. `prefix` begins the keys of its counts."""

    name: str
    rate: RateLimit
    prefix: str
    # What is counted separately: `user`, `address`, `header` or `param`, and of the last two the name.
    by: str = "user"
    by_name: str = ""
    announce: bool = True


class LimitedClient(Protocol):
    """What a request's headers say of the client."""

    pairs: Headers

    @property
    def network(self) -> str: ...


class RouteLimits:
    """The limits of a route, prepared for its requests."""

    def __init__(self, limits: Sequence[RouteLimit]) -> None:
        self.limits = tuple(limits)
        # Whether what a request is counted under depends on its path too, not only on its headers.
        self.counts_by_path = any(limit.by == "param" for limit in limits)
        self.rates = tuple(limit.rate for limit in limits)
        self.announced = tuple(index for index, limit in enumerate(limits) if limit.announce)
        shown = [self.limits[index] for index in self.announced]
        # draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4.
        self.policy = ", ".join(f'"{each.name}";q={each.rate.count};w={each.rate.seconds:.0f}' for each in shown)
        self.state = ", ".join(f'"{each.name}";r=%d;t=%d' for each in shown)
        self.lines = f"\r\nratelimit-policy: {self.policy}\r\nratelimit: {self.state}".encode()

    def keys(self, identity: Identity | None, client: LimitedClient, params: Mapping[str, str]) -> list[str]:
        return [f"{limit.prefix} {counted_as(limit, identity, client, params)}" for limit in self.limits]


@dataclass(slots=True, eq=False)
class Standing:
    """Where a client stands after a request, by the limits of its route."""

    limits: RouteLimits
    verdicts: Sequence[Verdict]

    @property
    def numbers(self) -> tuple[int, ...]:
        """What is left of each announced limit, and for how many seconds."""
        found: list[int] = []
        for index in self.limits.announced:
            found += (self.verdicts[index].remaining, math.ceil(self.verdicts[index].wait) or 1)
        return tuple(found)

    def lines(self) -> bytes:
        """Return the header lines, each after a line break, of at least one announced limit."""
        if len(self.verdicts) == 1:
            verdict = self.verdicts[0]
            return self.limits.lines % (verdict.remaining, math.ceil(verdict.wait) or 1)
        return self.limits.lines % self.numbers

    def headers(self) -> Headers:
        """Return the headers; none if no limit is announced."""
        if not self.limits.announced:
            return []
        return [("ratelimit-policy", self.limits.policy), ("ratelimit", self.limits.state % self.numbers)]

    def enforce(self, identity: Identity | None = None) -> None:
        """Raise `RateLimited` if a limit has rejected the request."""
        for verdict in self.verdicts:
            if not verdict.admitted:
                rejected = self.rejection()
                rejected.identity = identity
                raise rejected

    def rejection(self) -> RateLimited:
        """Return the rejection by those limits that are used up."""
        rejected = [index for index, verdict in enumerate(self.verdicts) if not verdict.admitted]
        wait = max(self.verdicts[index].wait for index in rejected)
        names = [self.limits.limits[index].name for index in rejected if index in self.limits.announced]
        rejection = RateLimited(wait, names, dict(self.headers()))
        rejection.limits = [self.limits.limits[index].name for index in rejected]
        return rejection


def counted_as(limit: RouteLimit, identity: Identity | None, client: LimitedClient, params: Mapping[str, str]) -> str:
    """Return what the limit counts a request as; the client's address where the request lacks what it counts by."""
    if limit.by == "user" and identity is not None:
        return f"user {identity.user_id}"
    if limit.by == "header" and (found := ",".join(values(client.pairs, limit.by_name.lower()))):
        return f"header {limit.by_name} {bounded(found)}"
    if limit.by == "param":
        # As it is matched: each spelling of a path counts the same.
        return f"param {limit.by_name} {bounded(paths.matched(params[limit.by_name]))}"
    return f"address {client.network}"


def bounded(value: str) -> str:
    return value if len(value) <= MAX_VALUE else blake2b(value.encode(errors="replace"), digest_size=16).hexdigest()


def of_route(route: Route, config: Config) -> RouteLimits | None:
    """Return the limits of a route of the configuration, if it has any."""
    declared = route.rate_limit
    if not declared:
        return None
    if isinstance(declared, RateLimit):
        # Of the route alone, also where a service or the defaults declare it.
        return RouteLimits([RouteLimit(UNNAMED, declared, f"{route.path} {','.join(route.methods)}")])
    found = []
    for name in declared:
        limit = config.limits[name]
        by, _, by_name = limit.by.partition(":")
        found.append(RouteLimit(name, limit.rate_limit, f"limit {name}", by, by_name, limit.announce))
    return RouteLimits(found)
