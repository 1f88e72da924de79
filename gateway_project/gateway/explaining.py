"""What the gateway would decide on a request, and why. Nothing is sent, and nothing is counted.

It is a third door: it asks the same gate in the same order as the other two, and shows what they do. The
gate gets parts that only look: counts that are read, passports that are not signed, and a user who has
not signed in.
"""

import difflib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil, inf
from typing import Any, Final, cast

from .config import HIDDEN, Config, Lines, Policies, RateLimit, Route, written
from .counters import Counters
from .gate import Decision, Gate, Request, RequestHeaders
from .identity.authentication import Authentication
from .identity.passports import Passports
from .identity.revocations import Revocations
from .identity.tokens import GatewayBackend
from .policy import clients, paths
from .policy.access import Identity
from .policy.headers import Headers, values
from .policy.limits import Verdict, decide
from .policy.rejections import (
    CircuitOpen,
    ContentTooLarge,
    MethodNotAllowed,
    RequestRejected,
    RouteNotFound,
    SlashRedirect,
)
from .policy.routes import Match, RouteTable
from .upstreams.addresses import Address
from .upstreams.requests import NO_BODY, UpstreamRequest

# What a request carries that is explained for a user: no token, so the gate must not verify it.
AS_USER: Final = "Bearer explained"
# The session of a user who is given and has not signed in.
EXPLAINED: Final = "explained"
OWN_PATH: Final = "own_path"
ITS_OWN: Final = "The gateway itself responds: the path is its own."
SECRETS: Final = ("authorization", "cookie", "key", "secret", "token", "password")
PASSPORT: Final = "Bearer <passport for user "
# Returns the verdicts of limits on one more request of the keys, which is not counted.
Peek = Callable[[Sequence[str], Sequence[RateLimit]], list[Verdict]]


@dataclass(frozen=True)
class Step:
    """One policy of the route: `allowed`, `rejected`, `not reached`, or `applies` for what rejects no request."""

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
    addresses: tuple[str, ...] = ()
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


class Explainer:
    """Explains requests by one configuration. Without a backend no token can be verified."""

    def __init__(
        self,
        config: Config,
        lines: Lines,
        *,
        allowed_hosts: Sequence[str],
        trusted_proxies: clients.Networks = (),
        peek: Peek = unused,
        backend: GatewayBackend | None = None,
        ended: Iterable[str] = (),
    ) -> None:
        self.config = config
        self.lines = lines
        self.table = RouteTable(config)
        self.peek = peek
        self.backend = backend or GatewayBackend(cast("Any", NoKeys()))
        self.ended = ended
        self.allowed_hosts = allowed_hosts
        self.trusted_proxies = trusted_proxies

    def explain(
        self, method: str, target: str, *, user: Identity | None, address: str, headers: Headers, version: str = "1.1"
    ) -> Explanation:
        """Return the decision on a request with these headers, to which a user adds `Authorization`."""
        counts = Watched(self.peek)
        gate = Gate(
            self.table,
            GivenUser(user, self.backend, self.ended),
            ShownPassports(self.backend),
            cast("Counters", counts),
            trusted_proxies=self.trusted_proxies,
            allowed_hosts=self.allowed_hosts,
        )
        if user is not None:
            headers = [*headers, ("Authorization", AS_USER)]
        raw, _, query = target.partition("?")
        path, scheme, authority = paths.parse_target(raw)
        parsed = RequestHeaders(headers, address, gate)
        host = parsed.host if authority is None else authority
        request = Request(method, path, query, host, parsed, "http", "<request id>", "<traceparent>", version, scheme)
        found = Explanation(method, target, user.user_id if user else None, role=user.role if user else None)
        return self.decided(gate, request, counts, found)

    def decided(self, gate: Gate, request: Request, counts: Watched, found: Explanation) -> Explanation:
        """Ask the gate, as the doors do."""
        match: Match | None = None
        try:
            gate.check(request)
            if (request.method, request.path) == ("OPTIONS", "*"):
                return replace(found, code=OWN_PATH, detail=ITS_OWN)
            match = gate.route(request.method, request.path, request.query)
            if match.answer_options or (match.policies is not None and gate.answers_options(request, match)):
                options = {"status": 204, "response_headers": gate.options(request, match)}
                return self.described(found, match, counts, None, options)
            decision = gate.authorize(request, match)
            length = ",".join(values(request.headers.pairs, "content-length"))
            if length.isascii() and length.isdigit() and int(length) > match.route.max_body:
                raise ContentTooLarge(match.route.max_body)
        except RequestRejected as rejected:
            if isinstance(rejected, RouteNotFound) and self.table.is_own(paths.canonical(request.path)):
                return replace(found, code=OWN_PATH, detail=ITS_OWN)
            outcome = {"status": rejected.status, "code": rejected.code, "detail": rejected.detail}
            outcome |= {"response_headers": list(rejected.headers.items())}
            outcome |= {"candidates": self.candidates(request, rejected)}
            found = known(found, rejected.identity)
            return self.described(found, match, counts, rejected, outcome)
        found = known(found, decision.identity)
        return self.described(found, match, counts, None, {"sent": self.sent(request, decision)})

    def candidates(self, request: Request, rejected: RequestRejected) -> tuple[Candidate, ...]:
        """Return the routes of the path that have other methods, or to whose path the client is redirected."""
        if isinstance(rejected, SlashRedirect):
            path = rejected.location.partition("?")[0]
        elif isinstance(rejected, MethodNotAllowed):
            path = request.path
        else:
            return ()
        found = self.table.routes(paths.canonical(path))
        return tuple(
            Candidate(
                route.path, self.lines.route(index), written(route, "methods"), self.lines.policy(index, "methods")
            )
            for index, route in enumerate(self.config.routes)
            if any(each is route for each in found)
        )

    def described(
        self,
        found: Explanation,
        match: Match | None,
        counts: Watched,
        rejected: RequestRejected | None,
        outcome: dict[str, Any],
    ) -> Explanation:
        """Return the explanation with the outcome and, of a request that has a route, why."""
        if match is None:
            return replace(found, **outcome)
        route = match.route
        index = next(index for index, each in enumerate(self.config.routes) if each is route)
        is_own = rejected is None and "sent" not in outcome
        return replace(
            found,
            route=route.path,
            line=self.lines.route(index),
            steps=self.steps(route, index, rejected, is_own=is_own),
            limits=self.limits(match, counts),
            service=route.service,
            service_line=self.lines.service(route.service),
            addresses=tuple(str(url) for url in self.config.services[route.service].url),
            **outcome,
        )

    def steps(self, route: Route, index: int, rejected: RequestRejected | None, *, is_own: bool) -> tuple[Step, ...]:
        """Return each policy with its verdict, those that may reject a request first and in their order."""
        steps, verdict = [], "not reached" if is_own or (rejected and not rejected.policy) else "allowed"
        asked: set[str] = set()
        steps.append(Step("methods", "allowed", written(route, "methods"), self.lines.policy(index, "methods")))
        # In the order in which the gate asks them; of the two that a route may lack, those that it has.
        for policy in ("allow_from", "allow", "rate_limit", "max_body"):
            if policy in {"allow_from", "rate_limit"} and not getattr(route, policy):
                continue
            is_it = rejected is not None and rejected.policy == policy
            said, line = "rejected" if is_it else verdict, self.lines.policy(index, policy)
            steps.append(Step(policy, said, written(route, policy), line))
            verdict = "not reached" if is_it else verdict
            asked.add(policy)
        for policy in Policies.model_fields:
            line = self.lines.policy(index, policy)
            if policy not in asked | {"rate_limit"} and line is not None:
                steps.append(Step(policy, "applies", written(route, policy), line))
        return tuple(steps)

    def limits(self, match: Match, counts: Watched) -> tuple[LimitState, ...]:
        """Return what is left of each limit that was asked."""
        if match.limits is None:
            return ()
        return tuple(
            LimitState(
                name=limit.name,
                key=key,
                rate=str(limit.rate),
                left=verdict.remaining,
                wait=round(verdict.wait, 1),
                line=self.lines.limit(limit.name),
            )
            for limit, key, verdict in zip(match.limits.limits, counts.keys, counts.verdicts, strict=False)
        )

    def sent(self, request: Request, decision: Decision) -> Sent:
        """Return the request as it would be sent to the first address, secrets hidden."""
        route = decision.match.route
        address = Address.of(str(self.config.services[route.service].url[0]))
        to_send = UpstreamRequest(
            route.service, request.method, decision.target, decision.own, NO_BODY, route.timeouts, False,
            decision.host, decision.grant.block,
        )  # fmt: skip
        head, _ = to_send.message(address.authority, address.base)
        line, *pairs = head.decode("latin-1").split("\r\n")
        added = {name.lower() for name in route.headers.request.set}
        named = [pair.partition(": ") for pair in pairs if pair]
        pairs_shown = [(name, HIDDEN if is_secret(name, value, added) else value) for name, _, value in named]
        return Sent(line, pairs_shown)


def known(found: Explanation, identity: Identity | None) -> Explanation:
    """Return the explanation with the user of a token, once that was verified."""
    if identity is None:
        return found
    name = identity.username if identity.session != EXPLAINED else ""
    return replace(found, user=identity.user_id, username=name, role=identity.role)


def fault_of_role(config: Config, role: str | None) -> str:
    """Return what is wrong with a role that no user can have, empty if users can."""
    if role is None or role in config.roles:
        return ""
    near = difflib.get_close_matches(role, config.roles, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"No user has the role {role!r}: the roles are {', '.join(config.roles)}.{meant}"


def user_of(config: Config, user: str | None, role: str | None) -> Identity | None:
    """Return a user of that id or role. Without a role it is the file's last one, without an id `0`."""
    if user is None and role is None:
        return None
    return Identity(user or "0", user or EXPLAINED, role or config.roles[-1], EXPLAINED)


def is_secret(name: str, value: str, added: Iterable[str]) -> bool:
    """Return whether a header's value is not shown: one that gateway.yaml sets, or whose name promises a secret."""
    name = name.lower()
    if value.startswith(PASSPORT):
        return False
    return name in added or any(word in name for word in SECRETS)


def with_states(found: Explanation, statuses: Iterable[dict[str, Any]]) -> Explanation:
    """Return the explanation with the states of the service's addresses in the workers of a running gateway.

    Where each worker has ejected the service's only address, the response is the gateway's own.
    """
    states: dict[str, set[str]] = {}
    rests, workers = [], 0
    for status in statuses:
        addresses = status["services"].get(found.service, ())
        workers += bool(addresses)
        for address in addresses:
            states.setdefault(address["address"], set()).add(address["state"])
        if [address["state"] for address in addresses] == ["ejected"]:
            rests.append(addresses[0]["rests"])
    if not states:
        return found
    shown = tuple(f"{name} ({', '.join(sorted(its))})" for name, its in states.items())
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


def with_host(headers: Headers, allowed: Sequence[str]) -> Headers:
    """Return the headers with `Host`: one that the gateway serves, if it is not among them."""
    if values(headers, "host"):
        return headers
    named = (host.lstrip(".") for host in allowed if host != "*")
    return [("Host", next(named, "localhost")), *headers]
