"""The explanation of a decision: values, as `manage.py explain` prints them."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from typing import Any

from gateway.policy.headers import Headers
from gateway.policy.rejections import CircuitOpen
from gateway.upstreams.addresses import states_in_words


@dataclass(frozen=True)
class Step:
    """One policy of the route: `allowed`, `rejected`, `not reached`, or `applies` if it never rejects a request."""

    policy: str
    verdict: str
    value: str
    # In gateway.yaml; `None` for a default.
    line: int | None


@dataclass(frozen=True)
class LimitState:
    """What is left of a limit after the request, which is not counted; `wait` is in seconds, until one more is."""

    name: str
    key: str
    rate: str
    left: int
    wait: float
    line: int | None


@dataclass(frozen=True)
class Candidate:
    """A route of the request's path, where none of them accepts the request."""

    path: str
    line: int
    methods: str
    methods_line: int | None


@dataclass(frozen=True)
class ServiceAddress:
    """An address of the service. `states` has the number of workers by state, empty if no gateway runs."""

    address: str
    states: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.address} ({states_in_words(self.states)})" if self.states else self.address


@dataclass(frozen=True)
class Sent:
    """The request as the service would get it, secrets hidden."""

    line: str
    headers: Headers


@dataclass(frozen=True)
class Explanation:
    """The decision. `status`, `code` and `detail` are of the gateway's own response, if it forwards nothing.

    With both a status and `sent`, the service's only address is ejected: `sent` is for when it is back.
    """

    method: str
    target: str
    user: str | None
    # Of a token's user.
    username: str = ""
    role: str | None = None
    status: int | None = None
    code: str = ""
    detail: str = ""
    response_headers: Headers = field(default_factory=list)
    route: str | None = None
    line: int | None = None
    candidates: tuple[Candidate, ...] = ()
    steps: tuple[Step, ...] = ()
    limits: tuple[LimitState, ...] = ()
    service: str | None = None
    service_line: int | None = None
    addresses: tuple[ServiceAddress, ...] = ()
    # The workers that would respond 503 upstream_ejected, of how many.
    ejecting: int = 0
    workers: int = 0
    sent: Sent | None = None

    @property
    def is_forwarded(self) -> bool:
        """Whether the service would get the request."""
        return self.sent is not None and self.status is None

    def step(self, policy: str) -> Step:
        """Return the verdict of one policy of the route."""
        return next(step for step in self.steps if step.policy == policy)

    def as_json(self) -> str:
        return json.dumps(asdict(self) | {"is_forwarded": self.is_forwarded}, ensure_ascii=False, indent=2)


def with_states(found: Explanation, statuses: Iterable[dict[str, Any]]) -> Explanation:
    """Return the explanation with the states of the service's addresses in the workers of a running gateway.

    Where each worker has ejected the service's only address, the response is the gateway's own.
    """
    states: dict[str, Counter[str]] = {}
    rests, workers = [], 0
    for status in statuses:
        addresses = status["services"].get(found.service, ())
        workers += bool(addresses)
        for address in addresses:
            states.setdefault(address["address"], Counter())[address["state"]] += 1
        if [address["state"] for address in addresses] == ["ejected"]:
            rests.append(addresses[0]["rests"])
    if not states:
        return found
    shown = tuple(ServiceAddress(name, dict(found_there)) for name, found_there in states.items())
    found = replace(found, addresses=shown, workers=workers, ejecting=len(rests))
    if not found.sent or len(rests) < workers:
        return found
    rejected = CircuitOpen(str(found.service), max(1, ceil(min(rests))))
    return replace(
        found,
        status=rejected.status,
        code=rejected.code,
        detail=rejected.detail,
        response_headers=list(rejected.headers.items()),
    )
