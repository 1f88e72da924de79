"""The choice between the addresses of a service.

The address with the fewest requests in flight, by its weight, gets the next request. Equal ones take turns by smooth
weighted round robin, as nginx's `least_conn` does. So a sequence of single requests follows the weights, and a slow
address gets fewer requests. Above `COMPARED` addresses two random ones are compared: comparing all costs time, and many
workers that all pick the least busy address would meet there.
"""

import random
from collections.abc import Sequence
from itertools import accumulate
from math import inf
from typing import Final

from .pools import Pool

# Up to so many addresses are all compared. Two random ones of few would often miss the least busy one.
COMPARED: Final = 4


def choose(pools: Sequence[Pool]) -> Pool:
    """Return one of the pools, of which there is at least one."""
    return least_busy(pools) if len(pools) <= COMPARED else less_busy(pools)


def least_busy(pools: Sequence[Pool]) -> Pool:
    """Return the pool with the fewest requests in flight by weight; equal ones take turns."""
    best, least = pools[0], inf
    equal: list[Pool] = []
    for pool in pools:
        # `in_flight`, without the call: each request to a service with several addresses pays this.
        load = (len(pool.live) - len(pool.idle) + pool.connecting) / pool.weight
        if load < least:
            best, least, equal = pool, load, [pool]
        elif load == least:
            equal.append(pool)
    return best if len(equal) == 1 else next_in_turn(equal)


def next_in_turn(pools: Sequence[Pool]) -> Pool:
    """Return the pool whose turn it is, by smooth weighted round robin."""
    following, total = pools[0], 0.0
    for pool in pools:
        total += pool.weight
        pool.turn += pool.weight
        if pool.turn > following.turn:
            following = pool
    following.turn -= total
    return following


def less_busy(pools: Sequence[Pool]) -> Pool:
    """Return the less busy of two random pools, each drawn by its weight."""
    bounds = list(accumulate(pool.weight for pool in pools))
    one, other = random.choices(pools, cum_weights=bounds, k=2)  # noqa: S311  # not for secrets
    return other if other.in_flight / other.weight < one.in_flight / one.weight else one
