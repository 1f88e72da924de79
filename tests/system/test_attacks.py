"""What slow clients cost everyone else, against the three as they are served: nothing that a person would notice."""

import asyncio

import pytest
from tests import attacks
from tests.system.stack import Stack, children

CONNECTIONS = 200
# Seconds. With every thread waiting for a slow client, a request took until the client was given up, a minute or more.
WITHIN = 0.5
# How much slower than before the attack a request may be on a machine that is busy anyway.
TIMES = 5
# Bytes that a worker holds for its clients, that each connection costs beside them, and that a worker grows by anyway.
HELD, EACH, GROWS = 64 * 2**20, 2**19, 32 * 2**20


@pytest.fixture(scope="module")
def target(stack: Stack) -> attacks.Target:
    """The gateway, with an attacker and another user who are signed in."""
    return attacks.Target("127.0.0.1", stack.ports["gateway"], stack.login("user", "u"), stack.login("admin", "a"))


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_slow_clients_cost_nobody_else_anything(stack: Stack, target: attacks.Target, name: str) -> None:
    workers = children(int((stack.var / "run" / "gateway.pid").read_text()))
    outcome = asyncio.run(attacks.attack(target, name, connections=CONNECTIONS, seconds=0.5, pids=workers))
    assert outcome.wrong == []
    bound = max(WITHIN, TIMES * max(outcome.before.values()))
    assert outcome.slowest < bound, (outcome.before, outcome.during)
    assert outcome.memory - outcome.memory_before < HELD + CONNECTIONS * EACH + GROWS
