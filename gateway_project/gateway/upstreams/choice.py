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
from operator import attrgetter
from typing import Final

from .pools import Pool

# Up to so many addresses are all compared. Two random ones of few would often miss the least busy one.
COMPARED: Final = 4

TURN: Final = attrgetter("turn")
WEIGHT: Final = attrgetter("weight")


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
