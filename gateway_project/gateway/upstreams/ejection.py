"""What is known of one address: whether it gets requests, and when it is tried again.

                     `failures` failures in a row
        HEALTHY ────────────────────────────────────▶ EJECTED ◀──┐
           ▲                                             │       │
           │ a response                         the rest │       │ a failure, or no connection:
           │                                     is over │       │ twice the rest
           └────────────── PROBING ◀─────────────────────┘       │
                              └──────────────────────────────────┘

An ejected address gets no requests. At the end of its rest the gateway asks for its health (`health.path`), or connects
to it where the service has none, which costs no request. If that succeeds, requests go to it one at a time; the first
response brings it back, with few requests at first (`SLOW_START`). A rest is forgotten once the address has been
healthy for as long.

An address that refuses connections rests for `CONNECT_INTERVAL` only, however often it fails: to connect to it costs
neither it nor a request anything. So a replica that restarts is back as soon as it listens. If it accepts them and its
health is bad, it is asked again each `health.interval`: it may be a server that listens before it can respond.

With one address this is a circuit breaker: requests are rejected at once. While that address refuses connections, each
request tries it first, since that costs no time, and the first accepted connection closes the breaker. If it accepts no
connections otherwise, or closes them, as a proxy in front of a service that starts does, it is tried each
`CONNECT_INTERVAL` too.

An address whose active checks fail (`health_checks`) rests until one succeeds.

At most `eject.most` of the addresses rest, but a name may lose those that do not. Then the only one that is left gets
requests again at once, whatever ejected it beside others.

Each worker has its own view: it ejects what failed for its own requests.
"""

import asyncio
import random
from collections.abc import Callable
from enum import StrEnum
from math import ceil, inf
from typing import TYPE_CHECKING, Final

from gateway.config import Eject
from gateway.policy.rejections import UpstreamDisconnected, UpstreamProtocolError, UpstreamTimeout

from .measurements import ERRORS

if TYPE_CHECKING:
    from .balancing import Balancer
    from .pools import Pool

# Seconds over which an address that is back gets its share of the requests, in so many steps.
SLOW_START: Final = 10.0
STEPS: Final = 10
# Seconds between two tries of an address that costs requests nothing, or is the only one of its service.
CONNECT_INTERVAL: Final = 0.5
# Seconds after which a probe without an outcome, such as that of a client that has left, is given up.
PROBE_TIMEOUT: Final = 10.0
# By how much a rest is shorter or longer at most, so that workers do not all come back at once.
JITTER: Final = 0.1


class Outcome(StrEnum):
    """How an address failed; the names are those of `eject.on`."""

    CONNECT = "connect"
    RESET = "reset"
    TIMEOUT = "timeout"
    ERROR = "5xx"


# Why an address is ejected, for readers.
REASONS: Final = {
    Outcome.CONNECT: "no connection could be made",
    Outcome.RESET: "it closed connections or sent malformed responses",
    Outcome.TIMEOUT: "it did not respond in time",
    Outcome.ERROR: "it responded with errors",
}


def outcome_of(error: Exception) -> Outcome | None:
    """Return how the address failed after it was connected to; `None` if it is not at fault."""
    if isinstance(error, UpstreamTimeout):
        return Outcome.TIMEOUT
    return Outcome.RESET if isinstance(error, UpstreamDisconnected | UpstreamProtocolError) else None


class State(StrEnum):
    HEALTHY = "healthy"
    EJECTED = "ejected"
    PROBING = "probing"


class Ejection:
    """The state of one address."""

    def __init__(self, policy: Eject, pool: "Pool", balancer: "Balancer") -> None:
        self.policy = policy
        self.pool = pool
        self.balancer = balancer
        self.loop = pool.loop
        self.state = State.HEALTHY
        self.failures = 0
        # Why it is ejected.
        self.reason = ""
        # Whether responses have to be noted. While all is well, they have not.
        self.watches = self.watches_all = Outcome.ERROR in policy.on
        # Rests without a recovery between them, and the length of the last one.
        self.rests = 0
        self.rest = 0.0
        self.recovered_at = -inf
        # Whether it refused the last connection, at once.
        self.refuses = False
        # Why its active checks fail, if they do.
        self.check_error = ""
        # When the rest ends, and from when another probe may be sent.
        self.rests_until = 0.0
        self.probe_at = 0.0
        self.timer: asyncio.TimerHandle | None = None

    def connect_failed(self, *, refused: bool) -> None:
        """Note that the address did not accept a connection; its name may have others."""
        self.refuses = refused
        self.failed(Outcome.CONNECT)
        self.balancer.doubt(self.pool)

    def accepted(self) -> None:
        """Note a connection to an address that has refused them."""
        self.refuses = False
        if self.state is State.EJECTED and self.balancer.is_alone and not self.check_error:
            self.failures = 0
            self.recover()

    def failed(self, outcome: Outcome) -> None:
        """Note a failure of the address."""
        if outcome is not Outcome.ERROR:  # these are counted with the responses
            self.pool.measurements.count(ERRORS + outcome)
        if self.pool.is_retired:
            return
        if self.state is State.PROBING:
            self.eject(outcome)
        elif self.state is State.HEALTHY and outcome in self.policy.on:
            self.failures += 1
            self.watches = True
            if self.failures >= self.policy.failures and self.balancer.may_eject():
                self.eject(outcome)

    def responded(self, status: int) -> None:
        """Note a response; needed only while `watches` is true."""
        if status >= 500 and self.watches_all:
            self.failed(Outcome.ERROR)
            return
        if self.state is State.PROBING:
            self.recover()
        if self.state is State.HEALTHY:
            self.failures = 0
            self.watches = self.watches_all

    def eject(self, outcome: Outcome) -> None:
        """Send it no requests until it has rested."""
        before, self.state, self.watches = self.state, State.EJECTED, True
        if before is not State.EJECTED:  # else its probe failed, and the reason for the ejection stays
            self.reason = REASONS[outcome]
        rest = self.next_rest(before, outcome)
        self.rests_until = self.loop.time() + rest
        self.set_timer(rest, lambda: self.balancer.probe(self.pool))
        why = f"failures in a row: {self.failures}" if before is State.HEALTHY else "its probe failed"
        self.balancer.on_change(self.pool, before, f"{why} ({outcome})")

    def checked(self, error: str) -> None:
        """Note the result of its active checks, which comes again and again: an error, or empty if they succeed."""
        last, self.check_error = self.check_error, error
        before = self.state
        if not error and last and before is State.EJECTED:
            self.recover()
        elif error and (before is State.PROBING or (before is State.HEALTHY and self.balancer.may_eject())):
            # It rests until a check succeeds.
            self.close()
            self.state, self.watches = State.EJECTED, True
            self.rests_until = self.loop.time()
            self.balancer.on_change(self.pool, before, f"its health check failed ({error})")

    def on_alone(self) -> None:
        """Note that its service has no other address any more, so that its health is not checked either."""
        self.check_error = ""
        if self.state is State.EJECTED:
            self.failures = 0
            self.recover()

    def next_rest(self, before: State, outcome: Outcome) -> float:
        """Return the seconds that the address rests now."""
        is_cheap = outcome is Outcome.CONNECT and self.refuses
        if is_cheap or (self.balancer.is_alone and outcome in {Outcome.CONNECT, Outcome.RESET}):
            return min(CONNECT_INTERVAL, self.policy.rest)
        if before is State.EJECTED and self.balancer.health:
            return min(self.balancer.health.interval, self.policy.rest)
        if before is State.HEALTHY and self.loop.time() - self.recovered_at > self.rest:
            self.rests = 0
        self.rest = min(self.policy.rest * 2**self.rests, self.policy.max_rest)
        if self.rest < self.policy.max_rest:
            self.rests += 1
        return self.rest * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # not for secrets

    def on_probe(self, error: str) -> None:
        """Send it single requests if there is no error at the end of its rest; else let it rest on."""
        if self.state is not State.EJECTED or self.check_error:
            return
        if error:
            self.eject(Outcome.CONNECT)
            return
        self.state, self.probe_at = State.PROBING, 0.0
        self.balancer.on_change(self.pool, State.EJECTED)

    @property
    def described_state(self) -> str:
        """The state for people: `failing` is an address that stays in use because enough others rest."""
        is_failing = self.failures >= self.policy.failures or bool(self.check_error)
        return "failing" if self.state is State.HEALTHY and is_failing else str(self.state)

    @property
    def retry_after(self) -> int:
        """Seconds until the address may be tried again."""
        return max(1, ceil(self.rests_until - self.loop.time()))

    def take_probe(self) -> bool:
        """Return whether the next request probes the address."""
        now = self.loop.time()
        if self.state is not State.PROBING or now < self.probe_at:
            return False
        self.probe_at = now + PROBE_TIMEOUT
        return True

    def allow_probe(self) -> None:
        """Let another request probe the address: the last one met a connection that had been closed while idle.

        A proxy in front of the address, such as Docker's, accepts connections before the service does.
        """
        self.probe_at = 0.0

    def recover(self) -> None:
        """Send it requests again, few at first."""
        before, self.state = self.state, State.HEALTHY
        self.recovered_at = self.loop.time()
        self.balancer.on_change(self.pool, before)
        self.ramp(1)

    def ramp(self, step: int) -> None:
        """Send it a growing share of its requests."""
        self.pool.weight = self.pool.full_weight * step / STEPS
        if step < STEPS:
            self.set_timer(SLOW_START / STEPS, lambda: self.ramp(step + 1))

    def set_timer(self, seconds: float, call: Callable[[], None]) -> None:
        """Call this once the time is over, and nothing that was set before."""
        self.close()
        self.timer = self.loop.call_later(seconds, call)

    def close(self) -> None:
        """Stop the timer."""
        if self.timer:
            self.timer.cancel()
            self.timer = None
