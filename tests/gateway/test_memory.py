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


def test_the_client_that_has_stalled_for_longest_gives_way_and_one_that_goes_on_does_not() -> None:
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


def test_as_many_give_way_as_there_have_to() -> None:
    memory = Memory(limit=100)
    stalled = [Client(memory) for _ in range(10)]
    for client in stalled:
        client.holding.add(10)
    large = Client(memory)
    large.holding.add(95)
    assert all(client.ended for client in stalled)
    assert (large.ended, memory.held) == (False, 95)


def test_what_a_service_needs_does_not_give_way() -> None:
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


def test_what_is_released_counts_no_more_and_does_not_give_way_either() -> None:
    memory = Memory(limit=100)
    gone, other = Client(memory), Client(memory)
    gone.holding.add(60)
    gone.holding.release()
    gone.holding.release()
    other.holding.add(100)
    assert (gone.ended, memory.held) == (False, 100)


def test_a_client_that_cannot_be_told_keeps_its_place() -> None:
    memory = Memory(limit=100)
    untold = Holding(memory, None)
    untold.add(60)
    with pytest.raises(MemoryFull):
        Client(memory).holding.add(50)
    assert memory.held == 60


def test_a_response_shrinks_as_it_is_taken_and_is_held_beyond_the_limit_where_none_can_give_way() -> None:
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
