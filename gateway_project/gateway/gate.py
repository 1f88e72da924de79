"""The decisions on a request, in their order, the same at both doors.

How the two doors stay equal. A door parses the request, asks the gate, and does the I/O. Everything
that is decided is here or in `policy`, which has no I/O: target, path, route, headers, token, access,
rate limit. The gate takes values that both doors have and raises `RequestRejected`, so neither door can
skip or reorder a step. Both forward through `upstreams`, so that connections and failures are the same
too. What could still differ is tested: tests/conformance sends one table of requests, and one of
failing services, through both doors of a real gateway and compares the responses.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from django.http.request import split_domain_port, validate_host

from chassis.trace_context import Sampler

from .admission import Decision, Grant, Request, RequestHeaders
from .counters import Counters
from .identity.authentication import Authentication
from .identity.passports import Passports
from .policy import access, clients, cookies, cors, locations, origins, paths
from .policy import headers as header_policy
from .policy.access import Identity
from .policy.headers import Headers
from .policy.limits import RouteLimits, Standing
from .policy.locations import Locations, PublicURL
from .policy.rejections import (
    BadRequest,
    MethodNotAllowed,
    MethodNotImplemented,
    Misdirected,
    RequestRejected,
    SlashRedirect,
)
from .policy.route_policies import ResponseView
from .policy.routes import Match, RouteTable, with_cors

if TYPE_CHECKING:
    from .shared_counters import SharedCounters

# Cached peers, hosts and routes, and the characters of a path whose route is cached.
MAX_CACHED: Final = 1024
MAX_CACHED_PATH: Final = 256
# Requested by load balancers, with any name or address as the host.
PROBES: Final = frozenset({"/healthz", "/livez", "/readyz"})
ALWAYS: Final = Sampler()
UNKNOWN_HOST: Final = "This host is not served here. The operator lists the served ones in GATEWAY_ALLOWED_HOSTS."


class Gate:
    """The decisions of one configuration."""

    def __init__(
        self,
        table: RouteTable,
        authentication: Authentication,
        passports: Passports,
        counters: Counters,
        *,
        shared: "SharedCounters | None" = None,
        trusted_proxies: clients.Networks,
        allowed_hosts: Sequence[str],
        sampler: Sampler = ALWAYS,
        accepts_baggage: bool = False,
    ) -> None:
        self.table = table
        self.authentication = authentication
        self.passports = passports
        self.keys = passports.backend.keys
        self.counters = counters
        # The counts on a server, if several machines share them.
        self.shared = shared
        self.locations = Locations(table)
        self.trusted_proxies = trusted_proxies
        self.sampler = sampler
        self.accepts_baggage = accepts_baggage
        self.own_address = lru_cache(MAX_CACHED)(lambda peer: clients.address(peer, (), ()))
        self.is_ours = lru_cache(MAX_CACHED)(lambda host: is_one_of(host, allowed_hosts))
        self.matches: dict[tuple[str, str], Match] = {}

    def check(self, request: Request) -> None:
        """Raise `RequestRejected` unless the request is certainly for this gateway (RFC 9112, section 3.2)."""
        headers = request.headers
        if headers.is_checked and request.target_scheme is None:
            return
        if (name := header_policy.repeated(headers.pairs)) is not None:
            raise BadRequest(f"The header {name} is there more than once. Send it once.")
        if not headers.host and request.version != "1.0":
            raise BadRequest("The header Host is missing. HTTP/1.1 requires it.")
        if unquote(request.path) in PROBES:
            return
        scheme, _ = self.origin(request.scheme, request.host, headers)
        if request.target_scheme not in {None, scheme}:
            raise Misdirected(scheme)
        headers.is_checked = request.target_scheme is None

    def route(self, method: str, path: str, query: str = "") -> Match:
        """Return the request's route; `path` and `query` are as they were sent."""
        if (match := self.matches.get((method, path))) is not None:
            return match
        try:
            match = self.table.match(method, paths.canonical(path))
        except SlashRedirect as redirect:
            raise with_cors(SlashRedirect(redirect.location + target_query(query)), redirect.cors) from None
        if len(path) <= MAX_CACHED_PATH:
            if len(self.matches) >= MAX_CACHED:
                self.matches.clear()
            self.matches[method, path] = match
        return match

    def handles_options(self, request: Request, match: Match) -> bool:
        """Return whether the gateway itself responds: to an OPTIONS that is not routed, and to each preflight."""
        if match.handles_options:
            return True
        has_cors = match.policies is not None and match.policies.cors is not None
        return has_cors and cors.is_preflight(request.method, request.headers.pairs)

    def options(self, request: Request, match: Match) -> Headers:
        """Return the headers of the gateway's response to an OPTIONS.

        A preflight is about the route of the method that it asks for.
        """
        headers = [("allow", match.allow)]
        origin = request.headers.page_origin
        if not cors.is_preflight(request.method, request.headers.pairs):
            policy = match.policies.cors if match.policies else None
            return policy.applied(headers, origin) if policy else headers
        try:
            asked = header_policy.values(request.headers.pairs, "access-control-request-method")[0]
            target = self.route(asked, request.path)
        except MethodNotAllowed as rejected:
            return headers + (rejected.cors.preflight(origin, ()) if rejected.cors else [])
        except MethodNotImplemented:
            return headers
        policy = target.policies.cors if target.policies else None
        return headers + (policy.preflight(origin, target.route.methods) if policy else [])

    def authorize(self, request: Request, match: Match) -> Decision:
        grant = self.granted(request, match)
        standing = None
        if match.limits is not None:
            keys = limit_keys(request, match, match.limits, grant)
            standing = Standing(match.limits, self.counters.admit_all(keys, match.limits.rates))
            standing.enforce(grant.identity)
        return self.decision(request, match, grant, standing)

    async def authorize_shared(self, request: Request, match: Match) -> Decision:
        """Return the same as `authorize`, by the counts that several machines share, if there are any."""
        if self.shared is None or match.limits is None:
            return self.authorize(request, match)
        grant = self.granted(request, match)
        keys = limit_keys(request, match, match.limits, grant)
        standing = Standing(match.limits, await self.shared.admit_all(keys, match.limits.rates))
        standing.enforce(grant.identity)
        return self.decision(request, match, grant, standing)

    def granted(self, request: Request, match: Match) -> Grant:
        """Return what the route allows the request's headers, as long as it is valid."""
        grant = request.headers.grants.get(match.prepared.terms)
        if grant is None or request.target_scheme is not None or not self.is_valid(grant):
            grant = self.grant(request, match)
        return grant

    def decision(self, request: Request, match: Match, grant: Grant, standing: Standing | None) -> Decision:
        target = match.upstream_path + target_query(request.query) if request.query else match.upstream_path
        host = grant.origin[1] if match.prepared.keeps_host else None
        decision = Decision(request, match, grant, target, host)
        decision.standing = standing
        return decision

    def is_valid(self, grant: Grant) -> bool:
        return (
            time.monotonic() < grant.valid_until
            and grant.session not in self.authentication.revocations.ended
            and self.keys.current() is grant.keys
        )

    def grant(self, request: Request, match: Match) -> Grant:
        """Return what the route allows the request's headers."""
        headers = request.headers
        forwardable = headers.forwardable
        scheme, host = self.origin(request.scheme, request.host, headers)
        keys = self.keys.current()
        if match.policies is not None:
            match.policies.check_address(headers.address)
        identity = self.identify(request.method, headers, scheme, host)
        access.check(match.route.allow, identity)
        service = self.table.services[match.route.service]
        passport, valid_until = None, inf
        if identity:
            passport, valid_until = self.passports.fresh(identity, match.route.service)
            valid_until = min(valid_until, time.monotonic() + self.authentication.seconds_left(headers.authorization))
        if match.policies is not None:
            forwardable = match.policies.request(forwardable)
        onward = header_policy.to_upstream(
            forwardable,
            address=headers.address,
            scheme=scheme,
            host=host,
            version=request.version,
            via=headers.via,
            user_id=identity.user_id if identity else None,
            passport=passport,
            passes_authorization=service.pass_authorization,
            authorization=headers.authorization,
        )
        view = ResponseView(match.policies, headers, varies=match.prepared.has_page)
        grant = Grant(identity, onward, (scheme, host), keys, valid_until, view)
        # What a cookie is worth depends on the method and on where the request comes from.
        if request.target_scheme is None and not headers.has_cookies:
            headers.keep_grant(match.prepared.terms, grant)
        return grant

    def public_headers(self, decision: Decision, status: int, upstream: Headers) -> Headers:
        """Return the headers of the service's response, in which it names itself as the client knows it.

        Raises `UpstreamRedirects`.
        """
        if not locations.are_in(upstream):
            return upstream
        match, request = decision.match, decision.request
        asked = PublicURL(*decision.grant.origin, f"{request.path}?{request.query}" if request.query else request.path)
        return self.locations.public(
            upstream, service=match.route.service, status=status, sent=match.upstream_path, asked=asked
        )

    def identify(self, method: str, headers: RequestHeaders, scheme: str, host: str) -> Identity | None:
        """Return the user, `None` without credentials; scheme and host are as the client sees them.

        A cookie counts only without `Authorization`, and raises `CrossOrigin` if another site may have caused the
        request. Only an invalid `Authorization` raises `InvalidToken`.
        """
        if not headers.has_cookies:
            return self.authentication.identify(headers.authorization)
        token = cookies.read(headers.pairs, cookies.ACCESS, scheme)
        if token is None:
            return None
        origins.check_same_origin(method, headers.pairs, scheme, host)
        return self.authentication.identify_cookie(token)

    def can_refresh(self, request: Request, within: float = 0.0) -> bool:
        """Return whether a browser has a refresh token, and an access token that expires `within` seconds or has.

        A WebSocket's handshake refreshes nothing: browsers ignore the cookies of a rejected handshake, and would send
        the old refresh token again, which ends the session.
        """
        headers = request.headers
        if not headers.has_cookies or header_policy.values(headers.pairs, "upgrade"):
            return False
        scheme, _ = self.origin(request.scheme, request.host, headers)
        if not cookies.read(headers.pairs, cookies.REFRESH, scheme):
            return False
        return self.authentication.cookie_seconds_left(cookies.read(headers.pairs, cookies.ACCESS, scheme)) <= within

    def read_headers(self, pairs: Headers, peer: str) -> RequestHeaders:
        """Return the headers of a request from a peer: the client, or a proxy in front."""
        trusted = bool(self.trusted_proxies) and clients.is_trusted(peer, self.trusted_proxies)
        return RequestHeaders(
            pairs,
            self,
            address=self.client_address(peer, pairs),
            trusted=trusted,
            sampler=self.sampler,
            accepts_baggage=self.accepts_baggage,
        )

    def client_address(self, peer: str, pairs: Headers) -> str:
        """Return the client's address: the peer's, or the one that trusted proxies forwarded."""
        if not self.trusted_proxies:
            return self.own_address(peer)
        return clients.address(peer, header_policy.values(pairs, "x-forwarded-for"), self.trusted_proxies)

    def origin(self, scheme: str, host: str, headers: RequestHeaders) -> tuple[str, str]:
        """Return scheme and host as the client sees them; raise `BadRequest` for a host that is not ours."""
        if headers.trusted:
            scheme, host = clients.origin(
                scheme,
                host,
                forwarded_proto=header_policy.values(headers.pairs, "x-forwarded-proto"),
                forwarded_host=header_policy.values(headers.pairs, "x-forwarded-host"),
                trusted=True,
            )
        if not self.is_ours(host):
            raise BadRequest(UNKNOWN_HOST)
        return scheme, host

    def is_https(self, request: Request) -> bool:
        """Return whether the client is connected by TLS, here or at a proxy in front."""
        with suppress(RequestRejected):
            return self.origin(request.scheme, request.host, request.headers)[0] == "https"
        return False


def is_one_of(host: str, allowed: Sequence[str]) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


def limit_keys(request: Request, match: Match, limits: RouteLimits, grant: Grant) -> list[str]:
    """Return what the request is counted under by the limits of its route."""
    if (keys := grant.limit_keys.get(limits)) is None:
        keys = limits.keys(grant.identity, request.headers, match.params)
        if not limits.counts_by_path:
            grant.keep_limit_keys(limits, keys)
    return keys


def target_query(query: str) -> str:
    """Return the query with its `?`, or nothing; raise `BadRequest` for invalid characters (RFC 3986, section 3.4)."""
    if not query:
        return ""
    if not (query.isascii() and query.isprintable() and " " not in query and "#" not in query):
        raise BadRequest("The query has invalid characters. Percent-encode all but printable ASCII.")
    return f"?{query}"
