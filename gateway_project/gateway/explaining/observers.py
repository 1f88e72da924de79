"""What the gate gets to explain a request: parts that count nothing, sign nothing, and know the user."""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final, cast

from gateway.config import RateLimit
from gateway.identity.authentication import Authentication
from gateway.identity.passports import Passports
from gateway.identity.revocations import Revocations
from gateway.identity.tokens import GatewayBackend
from gateway.policy.access import Identity
from gateway.policy.limits import Verdict, decide

# What a request carries that is explained for a user: no token, so the gate must not verify it.
AS_USER: Final = "Bearer explained"
PASSPORT: Final = "Bearer <passport for user "
# Returns the verdicts of limits on one more request of the keys, which is not counted.
Peek = Callable[[Sequence[str], Sequence[RateLimit]], list[Verdict]]


class GivenUser(Authentication):
    """Accepts the given user for `AS_USER`, and verifies every other token."""

    def __init__(self, user: Identity | None, backend: GatewayBackend, ended: Iterable[str]) -> None:
        super().__init__(backend, cast("Revocations", EndedSessions(ended)))
        self.user = user

    def identify(self, authorization: str | None) -> Identity | None:
        return self.user if authorization == AS_USER else super().identify(authorization)


class EndedSessions:
    """The ended sessions as they were read once."""

    def __init__(self, ended: Iterable[str]) -> None:
        self.ended = frozenset(ended)

    def is_ended(self, session: str) -> bool:
        return session in self.ended


class ShownPassports(Passports):
    """Passports by the name of their user."""

    def fresh(self, identity: Identity, service: str) -> tuple[str, float]:
        return f"<passport for user {identity.user_id}>", inf


class NoKeys:
    """Stands for the keys where there are none: no token is valid."""

    def current(self) -> "NoKeys":
        return self

    def verifying(self, kid: str) -> None:
        return None


class Watched:
    """Counts nothing, and keeps what it was asked and what it answered."""

    def __init__(self, peek: Peek) -> None:
        self.peek = peek
        self.keys: Sequence[str] = ()
        self.verdicts: Sequence[Verdict] = ()

    def admit_all(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[Verdict]:
        self.keys = keys
        self.verdicts = verdicts = self.peek(keys, limits)
        return verdicts


def unused(keys: Sequence[str], limits: Sequence[RateLimit]) -> list[Verdict]:
    """Return the verdicts on the first request of a client."""
    return decide([0.0] * len(keys), 1.0, limits)
