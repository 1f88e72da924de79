"""A route's policies beside access and limits, prepared at load: an object, or `None` for a route without them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from gateway.config import Route

from . import clients, compression
from .codings import preferred
from .compression import ClientHeaders
from .cors import CorsPolicy
from .deprecation import Deprecation
from .header_rules import HeaderChanges
from .headers import Headers
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

    @classmethod
    def of(cls, route: Route) -> "RoutePolicies | None":
        """Return the route's policies; `None` if there is nothing to do, which is what most requests test."""
        made = cls(
            cors=CorsPolicy.of(route.cors),
            request_rules=HeaderChanges.of(route.headers.request),
            response_rules=HeaderChanges.of(route.headers.response),
            is_validated=route.validate != "skip",
            allow_from=route.allow_from,
            deprecation=Deprecation.of(route.deprecated),
            compresses=route.compress,
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

    def variant(self, client: ClientHeaders) -> Hashable:
        """Return what a response depends on beside its headers: equal values, equal responses. A 304 has no equal."""
        origin = self.cors.allowed(client.page_origin) if self.cors else None
        return (origin, preferred(client.accept_encoding)) if self.compresses else origin
