"""The decisions on a request, in their order, the same at both doors.

How the two doors stay equal. A door parses the request, asks the gate, and does the I/O. Everything
that is decided is here or in `policy`, which has no I/O: target, path, route, headers, token, access,
rate limit. The gate takes values that both doors have and raises `RequestRejected`, so neither door can
skip or reorder a step. Both forward through `upstreams`, so that connections and failures are the same
too. What could still differ is tested: tests/conformance sends one table of requests, and one of
failing services, through both doors of a real gateway and compares the responses.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from django.http.request import split_domain_port, validate_host

from .config import Route
from .counters import Counters
from .identity.authentication import Authentication
from .identity.passports import Passports
from .policy import access, clients, cookies, headers, locations, origins, paths
from .policy.access import Identity
from .policy.headers import Headers
from .policy.locations import Asked, Locations
from .policy.negotiation import prefers_page
from .policy.rejections import (
    BadRequest,
    ExpectationFailed,
    Misdirected,
    RateLimited,
    RequestRejected,
    SlashRedirect,
)
from .policy.routes import Match, RouteTable

# How many peers and hosts are remembered as known.
REMEMBERED: Final = 1024
# Asked by whoever runs the gateway, by whatever name or address.
PROBES: Final = frozenset({"/healthz", "/readyz"})
UNKNOWN_HOST: Final = "Expected a Host that names this gateway, as its operator says in GATEWAY_ALLOWED_HOSTS."


class RequestHeaders:
    """A request's headers, and what they mean: the same for every request that says the same to the same gate.

    Each meaning is parsed on first use and cached; what cannot be parsed raises `RequestRejected` on each use.
    """

    def __init__(self, pairs: Headers, peer: str, gate: "Gate") -> None:
        self.pairs = pairs
        self.peer = peer
        self.trusted = gate.is_trusted(peer)
        self.address = gate.client_address(peer, pairs)
        # Whether `Gate.check` has nothing against a request that says this.
        self.is_checked = False

    @cached_property
    def said(self) -> Headers:
        """The headers that a client may send to a service."""
        if any(value.lower() != "100-continue" for value in headers.values(self.pairs, "expect")):
            raise ExpectationFailed
        return headers.from_client(self.pairs, trusted=self.trusted)

    @cached_property
    def authorization(self) -> str | None:
        """The value of `Authorization`; repeated ones are joined with commas."""
        said = headers.values(self.pairs, "authorization")
        return ",".join(said) if said else None

    @cached_property
    def has_cookies(self) -> bool:
        """Whether cookies may identify the client: `Authorization` takes precedence."""
        return self.authorization is None and bool(headers.values(self.pairs, "cookie"))

    @cached_property
    def host(self) -> str:
        return ",".join(headers.values(self.pairs, "host"))

    @cached_property
    def via(self) -> str:
        return ", ".join(headers.values(self.pairs, "via"))

    @cached_property
    def network(self) -> str:
        """What a client's requests are counted by: the address, or the /64 of IPv6."""
        return clients.network(self.address)

    @cached_property
    def prefers_page(self) -> bool:
        """Whether a browser sent the request."""
        return prefers_page(",".join(headers.values(self.pairs, "accept")))

    @cached_property
    def request_id(self) -> str | None:
        """The request id of a trusted proxy."""
        return ",".join(headers.values(self.pairs, "x-request-id")) if self.trusted else None


class Request(NamedTuple):
    """A request as a door has taken it apart: path and query as they were sent, without the `?`; values latin-1.

    `host` is whom the request is for: what `Host` says, unless the target says it (RFC 9112, section 3.2.2).
    """

    method: str
    path: str
    query: str
    host: str
    heard: RequestHeaders
    scheme: str
    request_id: str
    # Of the request's HTTP.
    version: str = "1.1"
    # What the target says, where it is in absolute form.
    target_scheme: str | None = None


class Decision(NamedTuple):
    """What goes on to the route's service: path and query, and the headers but for `Host` and the body's framing.

    `host` is what `Host` says to a service that keeps the client's.
    """

    match: Match
    identity: Identity | None
    target: str
    headers: Headers
    host: str | None
    asked: Asked


class Gate:
    """The decisions of one configuration."""

    def __init__(
        self,
        table: RouteTable,
        authentication: Authentication,
        passports: Passports,
        counters: Counters,
        *,
        trusted_proxies: clients.Networks,
        allowed_hosts: Sequence[str],
    ) -> None:
        self.table = table
        self.authentication = authentication
        self.passports = passports
        self.counters = counters
        self.locations = Locations(table)
        self.trusted_proxies = trusted_proxies
        self.own_address = lru_cache(REMEMBERED)(lambda peer: clients.address(peer, (), ()))
        self.is_ours = lru_cache(REMEMBERED)(lambda host: is_one_of(host, allowed_hosts))

    def check(self, request: Request) -> None:
        """Raise `RequestRejected` unless the request is certainly for this gateway (RFC 9112, section 3.2)."""
        heard = request.heard
        if heard.is_checked and request.target_scheme is None:
            return
        if (name := headers.repeated(heard.pairs)) is not None:
            raise BadRequest(f"The header {name} is there more than once. Send it once.")
        if not heard.host and request.version != "1.0":
            raise BadRequest("The header Host is missing. HTTP/1.1 requires it.")
        if unquote(request.path) in PROBES:
            return
        scheme, _ = self.origin(request.scheme, request.host, heard)
        if request.target_scheme not in {None, scheme}:
            raise Misdirected(scheme)
        heard.is_checked = request.target_scheme is None

    def route(self, method: str, path: str, query: str = "") -> Match:
        """Return the request's route; `path` and `query` are as they were sent."""
        try:
            return self.table.match(method, paths.canonical(path))
        except SlashRedirect as redirect:
            raise SlashRedirect(redirect.location + target_query(query)) from None

    def admit(self, request: Request, match: Match) -> Decision:
        """Return what the service receives, if the route allows the request."""
        heard = request.heard
        said = heard.said
        scheme, host = self.origin(request.scheme, request.host, heard)
        identity = self.identify(request.method, heard, scheme, host)
        access.check(match.route.allow, identity)
        self.enforce_rate_limit(match.route, identity, heard)
        onward = headers.to_upstream(
            said,
            request_id=request.request_id,
            address=heard.address,
            scheme=scheme,
            host=host,
            path=request.path,
            version=request.version,
            via=heard.via,
            user_id=identity.user_id if identity else None,
            passport=self.passports.get(identity, match.route.service) if identity else None,
        )
        query = target_query(request.query)
        return Decision(
            match,
            identity,
            match.upstream_path + query,
            onward,
            host if self.table.services[match.route.service].host == "keep" else None,
            Asked(scheme, host, request.path + query),
        )

    def public_headers(self, admitted: Decision, status: int, said: Headers) -> Headers:
        """Return the headers of the service's answer, in which it names itself as the client knows it.

        Raises `UpstreamRedirects`.
        """
        if not locations.are_in(said):
            return said
        match = admitted.match
        return self.locations.public(
            said, service=match.route.service, status=status, sent=match.upstream_path, asked=admitted.asked
        )

    def identify(self, method: str, heard: RequestHeaders, scheme: str, host: str) -> Identity | None:
        """Return who is asking, `None` for nobody; scheme and host are as the client sees them.

        A cookie counts only without `Authorization`, and raises `CrossOrigin` where another site may be the one that
        acts. `InvalidToken` is only raised for what `Authorization` says.
        """
        if not heard.has_cookies:
            return self.authentication.identify(heard.authorization)
        token = cookies.read(heard.pairs, cookies.ACCESS, scheme)
        if token is None:
            return None
        origins.check_same_origin(method, heard.pairs, scheme, host)
        return self.authentication.identify_cookie(token)

    def can_refresh(self, request: Request, within: float = 0.0) -> bool:
        """Return whether a browser has a refresh token that may buy another access token than its own.

        Its own does not hold, or not for longer than `within` seconds. A WebSocket's handshake buys none: browsers
        take no cookies from its refusal, and would come with the old refresh token again, which ends the session.
        """
        heard = request.heard
        if not heard.has_cookies or headers.values(heard.pairs, "upgrade"):
            return False
        scheme, _ = self.origin(request.scheme, request.host, heard)
        if not cookies.read(heard.pairs, cookies.REFRESH, scheme):
            return False
        return self.authentication.seconds_left(cookies.read(heard.pairs, cookies.ACCESS, scheme)) <= within

    def enforce_rate_limit(self, route: Route, identity: Identity | None, heard: RequestHeaders) -> None:
        """Count the request against its route's limit; raise `RateLimited` if it is used up."""
        if route.rate_limit is None:
            return
        who = f"user {identity.user_id}" if identity else f"address {heard.network}"
        verdict = self.counters.admit(f"{route.path} {','.join(route.methods)} {who}", route.rate_limit)
        if not verdict.admitted:
            raise RateLimited(verdict.retry_after)

    def is_trusted(self, peer: str) -> bool:
        return bool(self.trusted_proxies) and clients.is_trusted(peer, self.trusted_proxies)

    def client_address(self, peer: str, pairs: Headers) -> str:
        """Return the client's address: the peer's, or the one that trusted proxies forwarded."""
        if not self.trusted_proxies:
            return self.own_address(peer)
        return clients.address(peer, headers.values(pairs, "x-forwarded-for"), self.trusted_proxies)

    def origin(self, scheme: str, host: str, heard: RequestHeaders) -> tuple[str, str]:
        """Return scheme and host as the client sees them; raise `BadRequest` for a host that is not ours."""
        if heard.trusted:
            scheme, host = clients.origin(
                scheme,
                host,
                forwarded_proto=headers.values(heard.pairs, "x-forwarded-proto"),
                forwarded_host=headers.values(heard.pairs, "x-forwarded-host"),
                trusted=True,
            )
        if not self.is_ours(host):
            raise BadRequest(UNKNOWN_HOST)
        return scheme, host

    def is_https(self, request: Request) -> bool:
        """Return whether the client is connected by TLS, here or at a proxy in front."""
        with suppress(RequestRejected):
            return self.origin(request.scheme, request.host, request.heard)[0] == "https"
        return False


def is_one_of(host: str, allowed: Sequence[str]) -> bool:
    """Return whether the value of `Host` names one of the allowed hosts."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


def target_query(query: str) -> str:
    """Return the query with its `?`, or nothing; raise `BadRequest` for invalid characters (RFC 3986, section 3.4)."""
    if not query:
        return ""
    if not (query.isascii() and query.isprintable() and " " not in query and "#" not in query):
        raise BadRequest("Expected a query of printable ASCII characters, others percent-encoded.")
    return f"?{query}"
