"""What a worker holds for its clients: it is counted, bounded, and the client that stalls gives way."""

import pytest

from gateway.memory import Holding, Memory
from gateway.policy.rejections import MemoryFull


class Client:
    """A client whose request may end early."""

    def __init__(self, memory: Memory) -> None:
        self.ended = False
        self.holding = Holding(memory, self.end)

    def end(self) -> None:
        """Note it."""
        assert not self.ended
        self.ended = True


def test_the_client_that_stalled_longest_is_dropped_and_an_active_one_is_not() -> None:
    memory = Memory(limit=100)
    first, second, third = (Client(memory) for _ in range(3))
    first.holding.add(40)
    second.holding.add(40)
    # It was the first, and has gone on since.
    first.holding.add(10)
    third.holding.add(30)
    assert [client.ended for client in (first, second, third)] == [False, True, False]
    assert second.holding.gave_way
    assert memory.held == 80


def test_only_as_many_clients_are_dropped_as_necessary() -> None:
    memory = Memory(limit=100)
    stalled = [Client(memory) for _ in range(10)]
    for client in stalled:
        client.holding.add(10)
    large = Client(memory)
    large.holding.add(95)
    assert all(client.ended for client in stalled)
    assert (large.ended, memory.held) == (False, 95)


def test_memory_that_a_service_needs_is_never_taken_away() -> None:
    memory = Memory(limit=100)
    needed, other = Client(memory), Client(memory)
    needed.holding.add(90)
    needed.holding.settle()
    with pytest.raises(MemoryFull):
        other.holding.add(20)
    assert (needed.ended, other.ended, memory.held) == (False, False, 90)
    needed.holding.release()
    other.holding.add(20)
    assert memory.held == 20


def test_released_memory_no_longer_counts() -> None:
    memory = Memory(limit=100)
    gone, other = Client(memory), Client(memory)
    gone.holding.add(60)
    gone.holding.release()
    gone.holding.release()
    other.holding.add(100)
    assert (gone.ended, memory.held) == (False, 100)


def test_a_client_that_cannot_receive_a_response_is_not_dropped() -> None:
    memory = Memory(limit=100)
    untold = Holding(memory, None)
    untold.add(60)
    with pytest.raises(MemoryFull):
        Client(memory).holding.add(50)
    assert memory.held == 60


def test_a_response_shrinks_as_it_is_read_and_may_exceed_the_limit_if_no_client_can_be_dropped() -> None:
    memory = Memory(limit=100)
    body, response = Client(memory), Client(memory)
    body.holding.add(50)
    body.holding.settle()
    assert not response.holding.replace(70)
    assert memory.held == 120
    assert response.holding.replace(40)
    assert memory.held == 90
    stalled, other = Client(memory), Client(memory)
    stalled.holding.add(10)
    other.holding.add(10)
    # The response was there before both.
    assert (response.ended, stalled.ended, other.ended) == (True, False, False)
