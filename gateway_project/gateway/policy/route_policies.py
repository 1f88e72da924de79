"""A route's policies beside access and limits, prepared at load: an object, or `None` for a route without them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.config import Route

from . import clients, compression
from .codings import preferred
from .compression import ClientHeaders
from .cors import CorsPolicy
from .deprecation import Deprecation
from .header_rules import HeaderChanges
from .headers import Headers, for_client, varying_by_accept
from .rejections import AddressForbidden


@dataclass(frozen=True, slots=True, eq=False)
class RoutePolicies:
    """What a route's requests and responses are changed and checked by."""

    cors: CorsPolicy | None
    request_rules: HeaderChanges | None
    response_rules: HeaderChanges | None
    is_validated: bool
    allow_from: clients.Networks
    deprecation: Deprecation | None
    compresses: bool
    # Equal for routes whose responses are changed equally.
    response_key: str = field(repr=False)

    @classmethod
    def of(cls, route: Route) -> "RoutePolicies | None":
        """Return the route's policies; `None` if there is nothing to do, which is what most requests test."""
        cors, response_rules = CorsPolicy.of(route.cors), HeaderChanges.of(route.headers.response)
        deprecation = Deprecation.of(route.deprecated)
        response_parts = (
            cors and (cors.is_open, cors.common),
            response_rules and (response_rules.added, sorted(response_rules.dropped)),
            deprecation is not None,
            route.compress,
        )
        made = cls(
            cors=cors,
            request_rules=HeaderChanges.of(route.headers.request),
            response_rules=response_rules,
            is_validated=route.validate != "skip",
            allow_from=route.allow_from,
            deprecation=deprecation,
            compresses=route.compress,
            response_key=repr(response_parts),
        )
        parts = (made.cors, made.request_rules, made.response_rules, made.is_validated, made.allow_from)
        return made if any(parts) or made.deprecation or made.compresses else None

    def check_address(self, address: str) -> None:
        """Raise `AddressForbidden` unless the client's address is in one of the route's networks."""
        if self.allow_from and not clients.within(clients.parse(address), self.allow_from):
            raise AddressForbidden(address)

    def request(self, headers: Headers) -> Headers:
        """Return the client's headers as the service is sent them."""
        if self.compresses:
            headers = compression.with_strong_tags(headers)
        return self.request_rules.applied(headers) if self.request_rules else headers

    def response(self, headers: Headers, origin: str | None) -> Headers:
        """Return the headers of the service's response, as a page of the origin gets them.

        What differs by the path, `deprecation`, is added to these.
        """
        if self.deprecation:
            headers = self.deprecation.without_own(headers)
        if self.response_rules:
            headers = self.response_rules.applied(headers)
        return self.cors.applied(headers, origin) if self.cors else headers

    def with_deprecation(self, headers: Headers, params: Mapping[str, str]) -> Headers:
        """Return a response's headers, with those of a deprecated route."""
        if self.deprecation is None:
            return headers
        return [*self.deprecation.without_own(headers), *self.deprecation.headers(params)]

    def variant(self, client: ClientHeaders) -> str:
        """Return what a response depends on beside its headers: equal values, equal responses. A 304 has no equal."""
        origin = self.cors.allowed(client.page_origin) if self.cors else None
        coding = preferred(client.accept_encoding) if self.compresses else None
        return f"{origin} {coding} {self.response_key}"


class ResponseView:
    """How a route's responses are changed for the client of a request, prepared once for its headers.

    Responses with equal headers are changed equally for equal keys. If it `varies`, a browser would get a page instead.
    """

    __slots__ = ("accept_encoding", "if_none_match", "key", "page_origin", "policies", "varies")

    def __init__(self, policies: RoutePolicies | None, client: ClientHeaders, *, varies: bool) -> None:
        self.policies = policies
        self.varies = varies
        self.key = f"{varies}"
        self.page_origin: str | None = None
        self.accept_encoding = self.if_none_match = ""
        if policies is not None:
            self.key = f"{varies} {policies.variant(client)}"
            self.page_origin = client.page_origin
            self.accept_encoding, self.if_none_match = client.accept_encoding, client.if_none_match

    @property
    def compresses(self) -> bool:
        return self.policies is not None and self.policies.compresses

    def headers(self, pairs: Headers) -> Headers:
        """Return a response's headers, without what depends on its content: its coding."""
        pairs = for_client(pairs)
        pairs = varying_by_accept(pairs) if self.varies else pairs
        return self.policies.response(pairs, self.page_origin) if self.policies else pairs
