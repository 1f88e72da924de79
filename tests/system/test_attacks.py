"""Slow clients against the running stack: other clients notice nothing."""

import asyncio

import pytest
from tests import attacks
from tests.processes import children
from tests.system.stack import Stack

CONNECTIONS = 200
# Seconds. While all threads wait for slow clients, a request takes a minute or more.
WITHIN = 0.5
# How many times slower than before the attack a request may be, on a busy machine.
TIMES = 5
# Bytes that a worker buffers for its clients, bytes of each connection, and bytes by which any worker grows.
BUFFERED, PER_CONNECTION, GROWTH = 64 * 2**20, 2**19, 32 * 2**20


@pytest.fixture(scope="module")
def target(stack: Stack) -> attacks.Target:
    """The gateway, with an attacker and another user signed in."""
    return attacks.Target("127.0.0.1", stack.ports["gateway"], stack.login("user", "u"), stack.login("admin", "a"))


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_slow_clients_do_not_slow_down_others(stack: Stack, target: attacks.Target, name: str) -> None:
    workers = children(int((stack.var / "run" / "gateway.pid").read_text()))
    outcome = asyncio.run(attacks.attack(target, name, connections=CONNECTIONS, seconds=0.5, pids=workers))
    assert outcome.wrong == []
    bound = max(WITHIN, TIMES * max(outcome.before.values()))
    assert outcome.slowest < bound, (outcome.before, outcome.during)
    assert outcome.memory - outcome.memory_before < BUFFERED + CONNECTIONS * PER_CONNECTION + GROWTH
