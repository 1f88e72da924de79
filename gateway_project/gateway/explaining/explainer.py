"""Asks the gate in the order of the doors, and collects why it decides so."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from gateway.admission import Decision, Request
from gateway.config import HIDDEN, Config, Lines, Policies, Route, written
from gateway.counters import Counters
from gateway.gate import Gate
from gateway.identity.tokens import GatewayBackend
from gateway.policy import clients, paths
from gateway.policy.access import Identity
from gateway.policy.headers import Headers, values
from gateway.policy.rejections import (
    ContentTooLarge,
    MethodNotAllowed,
    RequestRejected,
    RouteNotFound,
    SlashRedirect,
)
from gateway.policy.routes import Match, RouteTable
from gateway.upstreams.addresses import Address
from gateway.upstreams.requests import NO_BODY, UpstreamRequest

from .explanation import Candidate, Explanation, LimitState, Sent, ServiceAddress, Step
from .observers import AS_USER, PASSPORT, GivenUser, NoKeys, Peek, ShownPassports, Watched, unused

# The session of a user who is given and has not signed in.
EXPLAINED: Final = "explained"
OWN_PATH: Final = "own_path"
ITS_OWN: Final = "The gateway itself responds: the path is its own."
# Policies whose headers the gateway's own responses have too.
OF_OWN_RESPONSES: Final = frozenset({"cors", "deprecated"})
SECRETS: Final = ("authorization", "cookie", "key", "secret", "token", "password")


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
        parsed = gate.read_headers(headers, address)
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
            if match.handles_options or (match.policies is not None and gate.handles_options(request, match)):
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
            service_line=self.lines.entry("services", route.service),
            addresses=tuple(ServiceAddress(str(url)) for url in self.config.services[route.service].url),
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
            line = self.lines.policy(index, policy)
            steps.append(Step(policy, "rejected" if is_it else verdict, written(route, policy), line))
            verdict = "not reached" if is_it else verdict
            asked.add(policy)
        for policy in Policies.model_fields:
            line = self.lines.policy(index, policy)
            if policy not in asked | {"rate_limit"} and line is not None:
                applies = policy in OF_OWN_RESPONSES or not (is_own or rejected)
                steps.append(Step(policy, "applies" if applies else "not reached", written(route, policy), line))
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
                line=self.lines.entry("limits", limit.name),
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


def with_host(headers: Headers, allowed: Sequence[str]) -> Headers:
    """Return the headers with `Host`: one that the gateway serves, if it is not among them."""
    if values(headers, "host"):
        return headers
    named = (host.lstrip(".") for host in allowed if host != "*")
    return [("Host", next(named, "localhost")), *headers]
