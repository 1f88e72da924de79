"""What the gateway does when a service fails or falls behind: retries, and a bound on the requests in flight."""

from functools import partial
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from .addresses import Percentage
from .section import Section
from .values import Duration, one_of, several, whole

# What can be retried: no connection, a connection closed without a response, and statuses.
RETRY_CAUSES: Final = ("connect", "reset", "502", "503", "504")
MAX_ATTEMPTS: Final = 10
MAX_COUNT: Final = 1_000_000


Attempts = Annotated[int, *whole(1, MAX_ATTEMPTS)]
Count = Annotated[int, *whole(0, MAX_COUNT)]
Positive = Annotated[int, *whole(1, MAX_COUNT)]
RetryCauses = Annotated[
    tuple[
        Annotated[
            str,
            BeforeValidator(partial(one_of, known=RETRY_CAUSES)),
            WithJsonSchema({"enum": [*RETRY_CAUSES, *(int(cause) for cause in RETRY_CAUSES if cause.isdecimal())]}),
        ],
        ...,
    ],
    AfterValidator(partial(several, none="at least one cause; to turn retries off write attempts: 1")),
    Field(json_schema_extra={"minItems": 1, "uniqueItems": True}),
]


class Retry(Section):
    """When a request is sent again."""

    example: ClassVar[str] = "{attempts: 3}"
    attempts: Attempts = Field(
        2, description="How often a request is sent at most, the first time included; 1 turns retries off."
    )
    on: RetryCauses = Field(
        ("connect", "reset", "503"),
        json_schema_extra={"default": ["connect", "reset", 503]},
        description="What is retried: no connection, a connection closed before any byte of a response, or a status.",
    )
    budget: Percentage = Field(
        0.2,
        json_schema_extra={"default": "20%"},
        description="How many retries a service gets at most, as a share of its requests in the last 10 s.",
    )


class Queue(Section):
    """Where requests wait while a service has too many in flight."""

    example: ClassVar[str] = "{size: 100, wait: 1s}"
    size: Count = Field(100, description="How many requests wait at most; with 0 none does.")
    wait: Duration = Field(0.5, json_schema_extra={"default": "500ms"}, description="How long a request waits at most.")
