"""The choice between the addresses of a service.

The address with the fewest requests in flight, by its weight, gets the next request. Equal ones take turns by smooth
weighted round robin, as nginx's `least_conn` does. So a sequence of single requests follows the weights, and a slow
address gets fewer requests. Above `COMPARED` addresses two random ones are compared: comparing all costs time, and many
workers that all pick the least busy address would meet there.
"""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from math import inf
from operator import attrgetter
from typing import Final

from gateway.config import Service

from .addresses import Address
from .failures import FailureLog
from .pools import Pool

# Up to so many addresses are all compared. Two random ones of few would often miss the least busy one.
COMPARED: Final = 4

TURN: Final = attrgetter("turn")
WEIGHT: Final = attrgetter("weight")


class Balancer:
    """The addresses of one service."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self.pools = tuple(pools)
        # With one address there is no choice, and a request pays one test.
        self.only = self.pools[0] if len(self.pools) == 1 else None

    def first(self) -> Pool:
        """Return the address for a request that has not been sent yet."""
        return self.only or choose(self.pools)

    def pick(self, exclude: Collection[Pool]) -> Pool | None:
        """Return the address for a request that has been sent to those of `exclude`; `None` if no other is left."""
        pools = [pool for pool in self.pools if pool not in exclude]
        return choose(pools) if pools else None


def choose(pools: Sequence[Pool]) -> Pool:
    """Return one of the pools, of which there is at least one."""
    return least_busy(pools) if len(pools) <= COMPARED else less_busy(pools)


def least_busy(pools: Sequence[Pool]) -> Pool:
    """Return the pool with the fewest requests in flight by weight; equal ones take turns."""
    best: list[Pool] = []
    least = inf
    for pool in pools:
        load = pool.in_flight / pool.weight
        if load < least:
            best, least = [pool], load
        elif load == least:
            best.append(pool)
    return best[0] if len(best) == 1 else next_in_turn(best)


def next_in_turn(pools: Sequence[Pool]) -> Pool:
    """Return the pool whose turn it is, by smooth weighted round robin."""
    for pool in pools:
        pool.turn += pool.weight
    following = max(pools, key=TURN)
    following.turn -= sum(map(WEIGHT, pools))
    return following


def less_busy(pools: Sequence[Pool]) -> Pool:
    """Return the less busy of two random pools, each drawn by its weight."""
    bounds = list(accumulate(map(WEIGHT, pools)))
    one, other = random.choices(pools, cum_weights=bounds, k=2)  # noqa: S311  # not for secrets
    return other if other.in_flight / other.weight < one.in_flight / one.weight else one


class Pools:
    """The connections to all services."""

    def __init__(self, services: Mapping[str, Service], loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.services = {
            name: Balancer([Pool(name, Address.of(url), loop) for url in service.url])
            for name, service in services.items()
        }
        self.failures = FailureLog()

    def of(self, service: str) -> Balancer:
        """Return the addresses of the service."""
        return self.services[service]

    def break_off(self) -> None:
        """End every exchange: the gateway stops, and a request's longest time is over."""
        for balancer in self.services.values():
            for pool in balancer.pools:
                pool.break_off()

    def close(self) -> None:
        """Close every connection."""
        for balancer in self.services.values():
            for pool in balancer.pools:
                pool.close()
