"""What every request of a route needs to know of it, read from the configuration once.

An attribute of a pydantic model costs ten times as much as one of a plain object, and a request reads a dozen.
"""

from dataclasses import dataclass

from gateway.config import Route, Timeouts


@dataclass(slots=True, eq=False)
class PreparedTimeouts:
    """The seconds of `timeouts`."""

    connect: float
    first_byte: float | None
    total: float

    @classmethod
    def of(cls, timeouts: Timeouts) -> "PreparedTimeouts":
        return cls(timeouts.connect, timeouts.first_byte, timeouts.total)


class PreparedRoute:
    """A route of gateway.yaml as its requests use it."""

    __slots__ = (
        "has_page", "is_audited", "keeps_host", "max_body", "path", "service", "takes_websockets", "terms", "timeouts",
    )  # fmt: skip

    def __init__(self, route: Route, *, keeps_host: bool, has_policies: bool) -> None:
        self.path = route.path
        self.service = route.service
        # Whether a browser gets a page of the browsable API.
        self.has_page = route.browser == "api"
        # Whether requests that may change something are in the audit trail: Django responds to them.
        self.is_audited = route.audit
        self.takes_websockets = route.websocket
        # Whether the service receives the client's `Host`.
        self.keeps_host = keeps_host
        self.max_body = route.max_body
        self.timeouts = PreparedTimeouts.of(route.timeouts)
        # Equal for routes that allow the same headers the same. A route with policies is alone.
        own = f"{','.join(route.methods)} {route.path}" if has_policies else ""
        self.terms = f"{route.service} {route.allow} {self.has_page} {own}"
