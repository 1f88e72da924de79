"""How the end of a session reaches many gateways, simulated: the table of docs/scaling.md.

    python -m tests.fleet

Each worker runs the two loops of `gateway.identity.revocations`, in virtual time: one asks the login service which
sessions ended and stores them in the gateways' database, one reads that database. Phases and durations are random, of a
fixed seed. Now and then the worker that has claimed the turn dies before it has asked.
"""

import heapq
import math
import random
from bisect import bisect_left
from dataclasses import dataclass, field
from statistics import median

# Of gateway.identity.revocations, by a test.
INTERVAL, TURN = 0.5, 0.4
# Mean seconds of a request to the login service, and of a statement of the database, on loaded machines.
ASKING, STATEMENT = 0.03, 0.01
SECONDS, ENDS = 30.0, 40
# Of so many claims of the turn, one is a worker's last act.
DEADLY = 10
SIZES = ((1, 2), (3, 2), (10, 4), (100, 4), (1000, 4))


@dataclass
class Fleet:
    """So many gateways with so many workers each. Without `turns` each worker asks the login service."""

    gateways: int
    workers: int
    turns: bool
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    asked: int = 0
    statements: int = 0
    claims: int = 0
    claimed_at: float = -math.inf
    # When each worker reads the database, by worker, and until when it has the login service's ends, in order.
    reads: list[list[float]] = field(default_factory=list)
    stored: list[tuple[float, float]] = field(default_factory=list)

    def takes(self, mean: float) -> float:
        return -mean * math.log(1 - self.chance.random())

    def run(self) -> None:
        count = self.gateways * self.workers
        self.reads = [[] for _ in range(count)]
        events = [
            (self.chance.uniform(0, INTERVAL), worker, loop) for worker in range(count) for loop in ("asks", "reads")
        ]
        heapq.heapify(events)
        while events and events[0][0] < SECONDS:
            at, worker, loop = heapq.heappop(events)
            done = self.ask(at) if loop == "asks" else self.read(at, worker)
            if done is not None:
                heapq.heappush(events, (done + INTERVAL, worker, loop))

    def read(self, at: float, worker: int) -> float:
        self.statements += 1
        self.reads[worker].append(at)
        return at + self.takes(STATEMENT)

    def ask(self, at: float) -> float | None:
        """Return when the worker is done; `None` if it has died."""
        if self.turns:
            self.statements += 1
            if at - self.claimed_at < TURN:
                return at + self.takes(STATEMENT)
            self.claimed_at, self.claims = at, self.claims + 1
            # Another worker takes the place of a dead one a while later, which is left out.
            if self.claims % DEADLY == 0 and self.gateways * self.workers > self.claims:
                return None
        self.asked, self.statements = self.asked + 1, self.statements + 1
        answered = at + self.takes(ASKING)
        self.stored.append((at, answered))
        return answered

    def delays(self) -> list[float]:
        """Return, of ends at random moments, the seconds until the last worker rejects the session."""
        self.stored.sort()
        found = []
        for _ in range(ENDS):
            ended = self.chance.uniform(5, SECONDS - 10)
            stored = min(until for since, until in self.stored if since >= ended)
            found.append(max(reads[bisect_left(reads, stored)] for reads in self.reads) + STATEMENT - ended)
        return found


def simulate(gateways: int, workers: int, *, turns: bool) -> tuple[Fleet, list[float]]:
    """Return the fleet after its time, and the delays of ended sessions."""
    fleet = Fleet(gateways, workers, turns)
    fleet.run()
    return fleet, fleet.delays()


def table() -> str:
    """Return the simulation's results as Markdown."""
    lines = [
        "| gateways × workers | polls/s, each by itself | polls/s, in turns | statements/s | all reject | longest |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for gateways, workers in SIZES:
        alone, _ = simulate(gateways, workers, turns=False)
        fleet, delays = simulate(gateways, workers, turns=True)
        lines.append(
            f"| {gateways:,} × {workers} | {alone.asked / SECONDS:,.1f} | {fleet.asked / SECONDS:,.1f} | "
            f"{fleet.statements / SECONDS:,.0f} | {median(delays):.2f} s | {max(delays):.2f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201  # a command's output
