"""Who still calls deprecated routes: requests by route and user, in memory that the workers share.

An operator who wants to remove a route needs to know whose clients still use it. The metric has the number of requests
by route alone, so that its labels are bounded. The users are in a list, which `manage.py status` prints. Requests
without a user are listed by the network of the client. Both begin at zero when the gateway starts.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol

from .config import Route
from .metrics import INTERVAL, SharedMemory

# How many callers of a route a worker lists; the others count together. How many of them are printed.
MAX_CALLERS: Final = 200
MAX_SHOWN: Final = 20
OTHERS: Final = ""


class CallSeries(NamedTuple):
    """A method of a route, and the caller: `user 7 eva`, `address 192.0.2.7`, or `OTHERS`."""

    method: str
    route: str
    caller: str


class User(Protocol):
    """A signed-in user."""

    @property
    def user_id(self) -> str: ...
    @property
    def username(self) -> str: ...


class UnknownClient(Protocol):
    """What is known of a client without a user."""

    @property
    def network(self) -> str: ...


MEMORY: Final[SharedMemory[CallSeries]] = SharedMemory(key=CallSeries, name="gateway-callers")
FULL: Final[set[tuple[str, str]]] = set()


def count(method: str, route: str, user: User | None, client: UnknownClient) -> None:
    add(CallSeries(method, route, caller_of(user, client)), 1)


def caller_of(user: User | None, client: UnknownClient) -> str:
    return f"user {user.user_id} {user.username}" if user else f"address {client.network}"


def add(call: CallSeries, number: int) -> None:
    """Count so many requests of a caller, the last of them now."""
    if call not in MEMORY.places and is_full(call.method, call.route):
        call = call._replace(caller=OTHERS)
    MEMORY.mark(call, time.time(), number)


class CallTally:
    """The calls of one worker, added to the memory ten times a second, which costs less than each time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.counted: dict[tuple[str, str, str], int] = {}

    def count(self, method: str, route: str, user: User | None, client: UnknownClient) -> None:
        if not self.counted:
            self.loop.call_later(INTERVAL, self.hand_on)
        call = (method, route, caller_of(user, client))
        self.counted[call] = self.counted.get(call, 0) + 1

    def hand_on(self) -> None:
        counted, self.counted = self.counted, {}
        for call, number in counted.items():
            add(CallSeries(*call), number)


def is_full(method: str, route: str) -> bool:
    """Return whether this process lists no more callers of a route."""
    if (method, route) in FULL:
        return True
    listed = [call for call in list(MEMORY.places) if (call.method, call.route) == (method, route)]
    if len(listed) >= MAX_CALLERS:
        FULL.add((method, route))
    return len(listed) >= MAX_CALLERS


@dataclass
class Callers:
    """The requests for one method of a deprecated route, and the callers with the most of them."""

    total: int = 0
    by_caller: dict[str, tuple[int, float]] = field(default_factory=dict)

    def add(self, caller: str, number: int, last: float) -> None:
        self.total += number
        if caller != OTHERS:
            before, seen = self.by_caller.get(caller, (0, 0.0))
            self.by_caller[caller] = before + number, max(seen, last)


def read() -> dict[tuple[str, str], Callers]:
    """Return the callers by method and route, over all workers."""
    found: dict[tuple[str, str], Callers] = {}
    for call, (number, *_, last) in MEMORY.each():
        found.setdefault((call.method, call.route), Callers()).add(call.caller, int(number), last)
    return found


def report(routes: Iterable[Route]) -> Iterator[dict[str, Any]]:
    """Yield what `manage.py status` prints of each deprecated route of the file in force, also of those without calls.

    A HEAD is a call of its own, of the route's GET.
    """
    found = read()
    for route in routes:
        if route.deprecated.since is None:
            continue
        for method in (*route.methods, *(["HEAD"] if "GET" in route.methods else [])):
            callers = found.get((method, route.path), Callers())
            if method == "HEAD" and not callers.total:
                continue
            most = sorted(callers.by_caller.items(), key=itemgetter(1), reverse=True)[:MAX_SHOWN]
            shown: list[dict[str, Any]] = [
                {"caller": caller, "requests": number, "last": last} for caller, (number, last) in most
            ]
            yield {
                "method": method,
                "route": route.path,
                "requests": callers.total,
                "callers": shown,
                "others": callers.total - sum(each["requests"] for each in shown),
            }
