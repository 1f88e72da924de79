"""Cross-origin requests by the Fetch standard (section 3.3): what a page of another origin may send and read.

A browser enforces it by the response's headers. Before a request that a form could not send it asks first, by a
preflight: an OPTIONS with `Origin` and `Access-Control-Request-Method`, without credentials. So the gateway responds to
it before authentication, and before the rate limits, which could not count it by its user. The response to a preflight
of an origin that is not listed has no `Access-Control-*`, which is how a browser is rejected.

Where a policy holds, the service's own `Access-Control-*` are dropped: of two policies, each browser may take either.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.config import Cors as Rules

from .headers import Headers, values, varying_by

PREFIX: Final = "access-control-"
ANY: Final = "*"


class CorsPolicy:
    """The policy of one route, or of the gateway's own API."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.is_open = rules.origins == (ANY,)
        self.origins = frozenset(rules.origins)
        common: Headers = []
        if rules.credentials:
            common.append(("access-control-allow-credentials", "true"))
        if rules.expose:
            common.append(("access-control-expose-headers", ", ".join(rules.expose)))
        self.common = common

    @classmethod
    def of(cls, rules: Rules) -> "CorsPolicy | None":
        """Return the policy, `None` for rules without an origin."""
        return cls(rules) if rules.origins else None

    def allowed(self, origin: str | None) -> str | None:
        """Return the value of `Access-Control-Allow-Origin`; `None` if the origin is not allowed."""
        if self.is_open:
            return ANY
        return origin if origin in self.origins else None

    def headers(self, origin: str | None) -> Headers:
        """Return what a response has for a page of the origin, apart from `Vary`."""
        allowed = self.allowed(origin)
        return [("access-control-allow-origin", allowed), *self.common] if allowed else []

    def preflight(self, origin: str | None, methods: Iterable[str]) -> Headers:
        """Return what the response to a preflight has; `methods` are those of the route."""
        allowed = self.allowed(origin)
        if allowed is None:
            return self.with_vary([])
        mine = self.rules.methods
        pairs = [
            ("access-control-allow-origin", allowed),
            ("access-control-allow-methods", ", ".join(each for each in methods if mine is None or each in mine)),
            ("access-control-allow-headers", ", ".join(self.rules.headers)),
            ("access-control-max-age", f"{self.rules.max_age:.0f}"),
        ]
        if self.rules.credentials:
            pairs.append(("access-control-allow-credentials", "true"))
        return self.with_vary([(name, value) for name, value in pairs if value])

    def applied(self, pairs: Sequence[tuple[str, str]], origin: str | None) -> Headers:
        """Return a response's headers with this policy instead of any other."""
        others = [header for header in pairs if not header[0].lower().startswith(PREFIX)]
        return [*self.with_vary(others), *self.headers(origin)]

    def with_vary(self, pairs: Headers) -> Headers:
        """Return the headers with `Origin` in `Vary`, also for other origins: a cache must keep them apart."""
        return pairs if self.is_open else varying_by(pairs, "Origin")


def is_preflight(method: str, pairs: Headers) -> bool:
    """Return whether a browser asks what it may send (Fetch, section 3.3.2)."""
    return method == "OPTIONS" and bool(values(pairs, "origin") and values(pairs, "access-control-request-method"))
