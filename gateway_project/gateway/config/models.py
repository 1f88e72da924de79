"""What gateway.yaml may say: every key, its meaning and its default. Frozen, checked and complete once loaded."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Discriminator, Field, Tag

from . import patterns
from .addresses import Health, URLs
from .policies import Policies, ServicePolicies
from .section import Section
from .values import (
    EVERY_METHOD,
    ApiVersion,
    Burst,
    CountedBy,
    Flag,
    FormatVersion,
    Keyword,
    LimitName,
    Methods,
    OwnPath,
    PathPattern,
    Rate,
    RateLimit,
    Roles,
    ServiceName,
    ServiceReference,
)

DEFAULT_ROLES: Final = ("admin", "default")


Access = Annotated[
    Annotated[Keyword, Tag("keyword")] | Annotated[Roles, Tag("roles")],
    Discriminator(lambda value: "roles" if isinstance(value, list | tuple) else "keyword"),
]


class Service(ServicePolicies):
    """A service behind the gateway."""

    example: ClassVar[str] = "{url: 'http://127.0.0.1:8002'}"
    url: URLs = Field(
        description="Where the service is: one URL, or a list to balance over, each with an optional weight."
    )
    openapi: OwnPath | None = Field(None, description="Path of the service's OpenAPI document, merged into /docs.")
    health: Health | None = Field(None, description="The check of the service's health: its path, or more of it.")
    trailing_slash: Literal["keep", "append"] = Field(
        "keep", description="Whether the service is sent its paths as routes write them (keep), or with a / (append)."
    )
    host: Literal["service", "keep"] = Field(
        "service", description="The Host that the service is sent: its own (service), or the client's (keep)."
    )
    pass_authorization: Flag = Field(
        False, description="Whether the service gets the client's own `Authorization` beside the passport."
    )


class Limit(Section):
    """A rate limit that routes name."""

    example: ClassVar[str] = "{rate: 120/minute}"
    rate: Rate = Field(description="How many requests in which time.")
    burst: Burst | None = Field(
        None, description="How many requests may come at once; by default as many as the rate counts."
    )
    by: CountedBy = Field(
        "user", description="What the limit counts separately: user, address, header:NAME or param:NAME."
    )
    announce: Flag = Field(True, description="Whether responses name the limit and what is left of it.")

    @property
    def rate_limit(self) -> RateLimit:
        return RateLimit(self.rate.count, self.rate.seconds, self.burst or 0)


class Versions(Section):
    """The versions of the API."""

    example: ClassVar[str] = "{current: v1}"
    current: ApiVersion = Field(description="The version that /api/… without one is: with v1, /api/x is /api/v1/x.")


class Login(Section):
    """Who checks credentials."""

    example: ClassVar[str] = "{service: users}"
    service: ServiceReference = Field(description="The service that checks usernames and passwords.")
    change_password: OwnPath | None = Field(
        None, description="Path of the route with which users change their own password; /sessions/ links to it."
    )


class Route(Policies):
    """A part of the public API, and who may use it."""

    example: ClassVar[str] = "{path: /api/orders, service: orders, allow: authenticated}"
    path: PathPattern = Field(description="The path; {name} takes one segment, {name...} the rest of the path.")
    methods: Methods = Field(EVERY_METHOD, description="The HTTP methods; GET includes HEAD.")
    rewrite: PathPattern | None = Field(None, description="The path that the service is sent instead.")
    service: ServiceReference = Field(description="The service that receives the requests.")
    allow: Access = Field(description="Who may: public, authenticated (anyone signed in), or a list of roles.")
    websocket: Flag = Field(
        False, description="Whether a client may open a WebSocket: after the handshake all bytes go through both ways."
    )
    browser: Literal["api", "passthrough"] = Field(
        "api", description="What a browser gets: the browsable API, or the service's own pages (passthrough)."
    )


class Config(Section):
    """The whole public API of a gateway."""

    version: FormatVersion = Field(description="The version of this file's format.")
    defaults: ServicePolicies = Field(
        ServicePolicies(), description="What holds where a service or route does not say otherwise."
    )
    services: Mapping[ServiceName, Service] = Field(description="The services, by name.")
    limits: Mapping[LimitName, Limit] = Field(
        {}, description="Rate limits by name; all routes whose `rate_limit` has the name count together."
    )
    versions: Versions | None = Field(None, description="The versions of the API; without it the API has none.")
    login: Login | None = Field(None, description="Who checks credentials; without it the gateway has no login.")
    roles: Roles = Field(
        DEFAULT_ROLES,
        json_schema_extra={"default": [*DEFAULT_ROLES]},
        description="The roles that users can have; `manage.py check` warns of others in `allow`.",
    )
    routes: tuple[Route, ...] = Field(description="What the gateway exposes; nothing else gets through.")

    def upstream_path(self, route: Route) -> str:
        appends = self.services[route.service].trailing_slash == "append"
        path = route.rewrite or route.path
        return patterns.slashed(path) if appends else path

    @property
    def current_version(self) -> str | None:
        """The version of `/api/…` without a version, if there are versions."""
        return self.versions.current if self.versions else None


def resolved(config: Config) -> Config:
    """Return the configuration with the policies of every service and route filled in."""
    names = ServicePolicies.model_fields
    services = {name: service.over(config.defaults, names) for name, service in config.services.items()}
    routes = tuple(route.over(services[route.service], Policies.model_fields) for route in config.routes)
    return config.model_copy(update={"services": services, "routes": routes})
