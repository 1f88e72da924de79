"""What a worker holds in memory for its clients, bounded over all of them together."""

from collections.abc import Callable
from typing import Final

from gateway.policy.rejections import MemoryFull

# Bytes of request bodies that are not with a service yet, and of responses that their clients have not taken.
LIMIT: Final = 64 * 1024 * 1024


class Memory:
    """The holdings of a worker. Where they reach the limit, the one whose client has been idle for longest gives way.

    So clients that stall cost each other their place, and a client that goes on keeps its own.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.held = 0
        # Those that wait for their clients, the one that has waited longest first.
        self.waiting: dict[Holding, None] = {}

    def make_room(self, last: "Holding") -> bool:
        """End holdings until there is room, the last one excepted; return whether there is room."""
        while self.held > self.limit:
            longest = next(iter(self.waiting), last)
            if longest is last:
                return False
            longest.release()
            longest.gave_way = True
            if longest.give_way:
                longest.give_way()
        return True


class Holding:
    """Bytes held for one client. `give_way` ends its request; without it, or once settled, the holding stays."""

    __slots__ = ("gave_way", "give_way", "memory", "size")

    def __init__(self, memory: Memory, give_way: Callable[[], None] | None) -> None:
        self.memory = memory
        self.give_way = give_way
        self.gave_way = False
        self.size = 0

    def add(self, size: int) -> None:
        """Hold more, for a client that has just continued; raise `MemoryFull` if no other holding can be ended."""
        if not self.replace(self.size + size):
            self.release()
            raise MemoryFull

    def replace(self, size: int) -> bool:
        """Hold so many bytes, for a client that has just continued; return whether there is room."""
        memory = self.memory
        memory.held += size - self.size
        self.size = size
        if self.give_way:
            memory.waiting.pop(self, None)
            memory.waiting[self] = None
        return memory.held <= memory.limit or memory.make_room(self)

    def settle(self) -> None:
        """Keep the holding from giving way: its bytes are needed."""
        self.memory.waiting.pop(self, None)

    def release(self) -> None:
        self.memory.held -= self.size
        self.size = 0
        self.memory.waiting.pop(self, None)
