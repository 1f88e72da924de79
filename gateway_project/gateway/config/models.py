"""What gateway.yaml may say: every key, its meaning and its default. Frozen, checked and complete once loaded."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from . import patterns
from .values import (
    EVERY_METHOD,
    ApiVersion,
    Duration,
    Flag,
    FormatVersion,
    Keyword,
    Methods,
    OwnPath,
    PathPattern,
    Rate,
    Roles,
    ServiceName,
    ServiceReference,
    Size,
    URLs,
)


def kind_of_access(value: object) -> str:
    """Return which of the two forms of `allow` the value has."""
    return "roles" if isinstance(value, list | tuple) else "keyword"


Access = Annotated[
    Annotated[Keyword, Tag("keyword")] | Annotated[Roles, Tag("roles")],
    Discriminator(kind_of_access),
]


class Section(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def written(self) -> dict[str, Any]:
        """Return the values that the file has, without defaults."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Timeouts(Section):
    """How long the gateway waits for a service."""

    connect: Duration = Field(
        1.0, json_schema_extra={"default": "1s"}, description="How long a connection to the service may take."
    )
    first_byte: Duration | None = Field(
        None, description="How long the answer may take to begin, once the request is sent."
    )
    total: Duration = Field(
        10.0,
        json_schema_extra={"default": "10s"},
        description="How long the whole answer may take, connecting included.",
    )


class Defaults(Section):
    """What holds for every service and route that does not say otherwise."""

    timeouts: Timeouts = Field(Timeouts(), description="How long the gateway waits for a service.")
    max_body: Size = Field(
        2**20,
        json_schema_extra={"default": "1MiB"},
        description="The largest request body; a larger one is answered with 413.",
    )


class Service(Section):
    """A service behind the gateway."""

    url: URLs = Field(description="Where the service is: one URL, or a list to balance over.")
    openapi: OwnPath | None = Field(None, description="Path of the service's OpenAPI document, merged into /docs.")
    health: OwnPath | None = Field(None, description="Path that answers 200 while the service can do its work.")
    trailing_slash: Literal["keep", "append"] = Field(
        "keep", description="Whether the service is sent its paths as routes write them (keep), or with a / (append)."
    )
    host: Literal["service", "keep"] = Field(
        "service", description="The Host that the service is sent: its own (service), or the client's (keep)."
    )
    timeouts: Timeouts = Field(Timeouts(), description="Timeouts of this service, over those of `defaults`.")


class Versions(Section):
    """The versions of the API."""

    current: ApiVersion = Field(description="The version that /api/… without one is: with v1, /api/x is /api/v1/x.")


class Login(Section):
    """Who checks credentials."""

    service: ServiceReference = Field(description="The service that checks usernames and passwords.")
    change_password: OwnPath | None = Field(
        None, description="Path of the route with which users change their own password; /sessions/ links to it."
    )


class Route(Section):
    """A part of the public API, and who may use it."""

    path: PathPattern = Field(description="The path; {name} takes one segment, {name...} the rest of the path.")
    methods: Methods = Field(EVERY_METHOD, description="The HTTP methods; GET includes HEAD.")
    service: ServiceReference = Field(description="The service that answers.")
    allow: Access = Field(description="Who may: public, authenticated (anyone signed in), or a list of roles.")
    rate_limit: Rate | None = Field(
        None, description="How often: per user, or per client address (IPv6: its /64) for requests without a user."
    )
    timeouts: Timeouts = Field(Timeouts(), description="Timeouts of this route, over those of its service.")
    max_body: Size = Field(2**20, description="The largest request body of this route, over that of `defaults`.")
    websocket: Flag = Field(
        False, description="Whether a client may open a WebSocket: after the handshake all bytes go through both ways."
    )
    browser: Literal["api", "passthrough"] = Field(
        "api", description="What a browser gets: the browsable API, or the service's own pages (passthrough)."
    )


class Config(Section):
    """The whole public API of a gateway."""

    version: FormatVersion = Field(description="The version of this file's format.")
    defaults: Defaults = Field(Defaults(), description="What holds where a service or route does not say otherwise.")
    services: Mapping[ServiceName, Service] = Field(description="The services, by name.")
    versions: Versions | None = Field(None, description="The versions of the API; without it the API has none.")
    login: Login | None = Field(None, description="Who checks credentials; without it the gateway has no login.")
    roles: Roles = Field(
        ("admin", "default"),
        json_schema_extra={"default": ["admin", "default"]},
        description="The roles that users can have; `manage.py check` warns of others in `allow`.",
    )
    routes: tuple[Route, ...] = Field(description="What the gateway exposes; nothing else gets through.")

    def upstream_path(self, route: Route) -> str:
        """Return the path that the service receives, with its parameters' names."""
        appends = self.services[route.service].trailing_slash == "append"
        return patterns.slashed(route.path) if appends else route.path

    @property
    def current_version(self) -> str | None:
        """The version of `/api/…` without a version, if there are versions."""
        return self.versions.current if self.versions else None


def resolved(config: Config) -> Config:
    """Return the configuration with the defaults of every service and route filled in."""
    general = config.defaults.timeouts
    services = {
        name: service.model_copy(update={"timeouts": general.model_copy(update=service.timeouts.written())})
        for name, service in config.services.items()
    }
    return config.model_copy(
        update={
            "services": services,
            "routes": tuple(
                route.model_copy(
                    update={
                        "timeouts": services[route.service].timeouts.model_copy(update=route.timeouts.written()),
                        "max_body": route.max_body
                        if "max_body" in route.model_fields_set
                        else config.defaults.max_body,
                    }
                )
                for route in config.routes
            ),
        }
    )
