"""A request as the gate takes it, and what the gate returns: values, without decisions.

The door parses a request into a `Request`. The gate grants its headers what the route allows (`Grant`), and returns
what the service receives for this one request (`Decision`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from chassis import logs, trace_context
from chassis.trace_context import Sampler, TraceParent

from .identity.keys import KeyRing
from .policy import clients
from .policy import headers as header_policy
from .policy.access import Identity
from .policy.headers import Headers
from .policy.limits import RouteLimits, Standing
from .policy.negotiation import prefers_page
from .policy.rejections import ExpectationFailed
from .policy.route_policies import ResponseView
from .policy.routes import Match

# Grants of one header block. Most configurations have fewer kinds of routes.
MAX_GRANTS: Final = 16
# Routes of a grant whose keys of limits are kept.
MAX_LIMITS: Final = 16


class RequestHeaders:
    """Parsed request headers, cached per connection while the raw headers stay identical.

    Each value is parsed at its first use. One that is invalid raises `RequestRejected` at each use.
    """

    def __init__(
        self, pairs: Headers, gate: object, *, address: str, trusted: bool, sampler: Sampler, accepts_baggage: bool
    ) -> None:
        self.pairs = pairs
        # Whose decisions are kept here: another configuration has another gate.
        self.gate = gate
        # The client's address, and whether a trusted proxy forwards its requests.
        self.address = address
        self.trusted = trusted
        self.sampler = sampler
        self.accepts_baggage = accepts_baggage
        # Whether `Gate.check` has accepted them.
        self.is_checked = False
        # By `PreparedRoute.terms`.
        self.grants: dict[str, Grant] = {}

    def keep_grant(self, terms: str, grant: "Grant") -> None:
        if len(self.grants) >= MAX_GRANTS:
            self.grants.clear()
        self.grants[terms] = grant

    @cached_property
    def forwardable(self) -> Headers:
        """The headers that a client may send to a service."""
        if any(value.lower() != "100-continue" for value in header_policy.values(self.pairs, "expect")):
            raise ExpectationFailed
        headers = header_policy.from_client(self.pairs, trusted=self.trusted, accepts_baggage=self.accepts_baggage)
        # It belongs to the trace of `traceparent`.
        state = self.trace_parent and trace_context.parse_tracestate(header_policy.values(self.pairs, "tracestate"))
        return [*headers, ("tracestate", state)] if state else headers

    @cached_property
    def authorization(self) -> str | None:
        """The value of `Authorization`; repeated ones are joined with commas."""
        values = header_policy.values(self.pairs, "authorization")
        return ",".join(values) if values else None

    @cached_property
    def has_cookies(self) -> bool:
        """Whether cookies may identify the client: `Authorization` takes precedence."""
        return self.authorization is None and bool(header_policy.values(self.pairs, "cookie"))

    @cached_property
    def host(self) -> str:
        return ",".join(header_policy.values(self.pairs, "host"))

    @cached_property
    def via(self) -> str:
        return ", ".join(header_policy.values(self.pairs, "via"))

    @cached_property
    def page_origin(self) -> str | None:
        """The origin of the page that caused the request, if a browser says one."""
        found = header_policy.values(self.pairs, "origin")
        return found[0] if len(found) == 1 else None

    @cached_property
    def accept_encoding(self) -> str:
        return ",".join(header_policy.values(self.pairs, "accept-encoding"))

    @cached_property
    def if_none_match(self) -> str:
        return ",".join(header_policy.values(self.pairs, "if-none-match"))

    @cached_property
    def network(self) -> str:
        """What a client's requests are counted by: the address, or the /64 of IPv6."""
        return clients.network(self.address)

    @cached_property
    def prefers_page(self) -> bool:
        return prefers_page(",".join(header_policy.values(self.pairs, "accept")))

    @cached_property
    def request_id(self) -> str | None:
        return ",".join(header_policy.values(self.pairs, "x-request-id")) if self.trusted else None

    @cached_property
    def trace_parent(self) -> TraceParent | None:
        """The client's span, if it sends a valid `traceparent`."""
        return trace_context.parse_traceparent(",".join(header_policy.values(self.pairs, "traceparent")))

    @cached_property
    def trace_flags(self) -> str | None:
        """The flags of the gateway's span, unless its trace id decides."""
        return self.sampler.flags(self.trace_parent)

    def traceparent(self, request_id: str) -> str:
        """Return the gateway's span of a request, as `traceparent`: of the client's trace, or of another one.

        The request id is random and serves as trace id and span id, unless a trusted proxy has chosen it.
        """
        parent = self.trace_parent
        unique = logs.new_id() if self.request_id else request_id
        trace_id = unique if parent is None else parent.trace_id
        flags = self.trace_flags or self.sampler.flags_by_ratio(trace_id)
        return f"00-{trace_id}-{unique[16:]}-{flags}"


@dataclass(slots=True, eq=False)
class Request:
    """A request as a door has parsed it: path and query as they were sent, without the `?`; values latin-1.

    `host` is the value of `Host`, or the host of a target in absolute form (RFC 9112, section 3.2.2).
    """

    method: str
    path: str
    query: str
    host: str
    headers: RequestHeaders
    scheme: str
    request_id: str
    # Names the gateway's span of this request, the parent of the service's.
    traceparent: str
    version: str = "1.1"
    # Of a target in absolute form.
    target_scheme: str | None = None

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]

    @property
    def is_recorded(self) -> bool:
        """Whether spans of it are exported, if any are."""
        return self.traceparent.endswith("-01")


class Grant:
    """What the headers of a client are allowed on a route, and the headers that the service receives for them.

    It depends on nothing else of a request, so the next request with the same headers reuses it, also on another route
    of the same terms. It is valid while the passport, the token, the keys and the session are.
    """

    __slots__ = (
        "block", "headers", "identity", "keys", "limit_keys", "origin", "session", "valid_until", "view",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917  # values that are kept
        self,
        identity: Identity | None,
        headers: Headers,
        origin: tuple[str, str],
        keys: KeyRing,
        valid_until: float,
        view: ResponseView,
    ) -> None:
        self.identity = identity
        self.session = identity.session if identity else ""
        self.headers = headers
        # The same, encoded.
        self.block = header_policy.encode(headers)
        # Scheme and host as the client sees them.
        self.origin = origin
        self.keys = keys
        self.valid_until = valid_until
        # How responses are changed for the client.
        self.view = view
        # What requests are counted under by the limits of a route, if that depends on nothing else of them.
        self.limit_keys: dict[RouteLimits, list[str]] = {}

    def keep_limit_keys(self, limits: RouteLimits, keys: list[str]) -> None:
        if len(self.limit_keys) >= MAX_LIMITS:
            self.limit_keys.clear()
        self.limit_keys[limits] = keys


class Decision:
    """What the route's service receives: path and query, and the headers except `Host` and the body's framing.

    `host` is the value of `Host` for a service with `host: keep`. `standing` is where the client stands, if the route
    has rate limits.
    """

    __slots__ = ("grant", "host", "match", "own", "request", "standing", "target")

    def __init__(self, request: Request, match: Match, grant: Grant, target: str, host: str | None) -> None:
        self.request = request
        self.match = match
        self.grant = grant
        self.target = target
        self.host = host
        self.standing: Standing | None = None
        # The headers that differ in each request; the grant has the others.
        self.own = [
            ("x-request-id", request.request_id),
            ("traceparent", request.traceparent),
            ("x-forwarded-path", request.path),
        ]

    @property
    def identity(self) -> Identity | None:
        return self.grant.identity

    @property
    def headers(self) -> Headers:
        return [*self.grant.headers, *self.own]
