"""What may be declared at `defaults`, at a service and at a route; the nearest wins, key by key."""

import warnings
from typing import ClassVar, Literal

from pydantic import Field

from .addresses import Eject
from .cors import Cors
from .deprecation import Deprecated
from .header_rules import HeaderPolicy
from .networks import Networks
from .resilience import Positive, Queue, Retry
from .section import Section
from .tls import TLS
from .values import Duration, Flag, RateLimits, Size

# pydantic has a deprecated method of this name, which nothing here calls.
warnings.filterwarnings("ignore", message='Field name "validate"', category=UserWarning)


class Timeouts(Section):
    """How long the gateway waits for a service."""

    example: ClassVar[str] = "{total: 10s}"
    connect: Duration = Field(
        1.0, json_schema_extra={"default": "1s"}, description="How long a connection to the service may take."
    )
    first_byte: Duration | None = Field(
        None, description="How long the response may take to begin, once the request is sent."
    )
    total: Duration = Field(
        10.0,
        json_schema_extra={"default": "10s"},
        description="How long the whole response may take, connecting included.",
    )


class Policies(Section):
    """How requests are handled. A route's word is nearer than its service's, and that nearer than `defaults`."""

    example: ClassVar[str] = "{max_body: 1MiB}"
    timeouts: Timeouts = Field(Timeouts(), description="How long the gateway waits for a service.")
    max_body: Size = Field(
        2**20,
        json_schema_extra={"default": "1MiB"},
        description="The largest request body; the response to a larger one is 413.",
    )
    cors: Cors = Field(Cors(), description="Which pages of other origins may use the route, by the Fetch standard.")
    rate_limit: RateLimits | None = Field(
        None, description="How often: a rate of the route's own, or the name of one of `limits`, or a list of names."
    )
    headers: HeaderPolicy = Field(
        HeaderPolicy(), description="What the gateway changes of the service's requests and responses."
    )
    allow_from: Networks = Field((), description="The networks that clients may be in; without any, all are allowed.")
    validate: Literal["skip", "report", "enforce"] = Field(  # type: ignore[assignment]
        "skip",
        description="Whether requests that the service's OpenAPI document does not allow are counted or rejected.",
    )
    retry: Retry = Field(Retry(), description="When a request is sent again.")
    deprecated: Deprecated = Field(
        Deprecated(),
        description="Marks the route as one that clients should stop using, and names what they use instead.",
    )
    compress: Flag = Field(
        False, description="Whether responses are compressed with gzip, br or zstd, as the client takes it."
    )
    audit: Flag = Field(
        False,
        description="Whether requests with other methods than GET are recorded in the audit trail.",
    )


class ServicePolicies(Policies):
    """How a service's addresses are used: declared at `defaults` or a service, since its routes share them."""

    eject: Eject = Field(Eject(), description="When an address of a service gets no requests for a while.")
    tls: TLS = Field(TLS(), description="How connections to `https` URLs of a service are verified.")
    max_in_flight: Positive = Field(
        1024, description="How many requests a worker has in flight to a service at most; others wait in `queue`."
    )
    queue: Queue = Field(Queue(), description="Where requests wait while a service has too many in flight.")
