"""A route's policies beside access and limits, prepared at load: an object, or `None` for a route without them."""

from dataclasses import dataclass

from gateway.config import Route

from .cors import Cors
from .headers import Headers


@dataclass(frozen=True, slots=True, eq=False)
class RoutePolicies:
    """What a route's requests and responses are changed and checked by."""

    cors: Cors | None

    @classmethod
    def of(cls, route: Route) -> "RoutePolicies | None":
        """Return the route's policies; `None` if there is nothing to do, which is what most requests test."""
        cors = Cors.of(route.cors)
        return cls(cors) if cors else None

    def response(self, headers: Headers, origin: str | None) -> Headers:
        """Return the headers of the service's response, as a page of the origin gets them."""
        return self.cors.applied(headers, origin) if self.cors else headers

    def variant(self, origin: str | None) -> str | None:
        """Return what `response` depends on beside the headers: equal values, equal responses."""
        return self.cors.allowed(origin) if self.cors else None
