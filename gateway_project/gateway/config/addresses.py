"""Where a service is, and when one of its addresses gets no requests."""

import re
from functools import partial
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from .section import Section
from .values import Duration, OwnPath, matching, number_schema, one_of, one_or_more, several, url, whole, whole_number

MAX_WEIGHT: Final = 100
MAX_FAILURES: Final = 1000
# What counts as a failure of an address.
CAUSES: Final = ("connect", "reset", "timeout", "5xx")
PERCENTAGE = re.compile(r"(?:100|[1-9]?[0-9])%")


class WeightedURL(str):
    """One URL of a service. Of two addresses, one with twice the weight gets twice the requests."""

    __slots__ = ("weight",)

    weight: int

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True and getattr(other, "weight", self.weight) == self.weight

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    @classmethod
    def of(cls, text: str, weight: int = 1) -> "WeightedURL":
        entry = cls(text)
        entry.weight = weight
        return entry


def weighted_url(value: object) -> WeightedURL:
    """Return the URL of `http://a` or `{url: http://a, weight: 2}`."""
    if not isinstance(value, dict):
        return WeightedURL.of(url(value))
    if not {"url"} <= value.keys() <= {"url", "weight"}:
        raise ValueError("a URL, or a mapping such as {url: http://10.0.0.1:8002, weight: 2}")
    return WeightedURL.of(url(value["url"]), whole_number(value.get("weight", 1), 1, MAX_WEIGHT, "a weight"))


def percentage(value: object) -> float:
    """Return the fraction that `50%` is."""
    return int(matching(PERCENTAGE, "a percentage from 0% to 100%, such as 50%")(value).rstrip("%")) / 100


URL_SCHEMA: Final = {"type": "string", "pattern": r"^https?://|\$\{"}
URL_ENTRY: Final[dict[str, Any]] = {
    "anyOf": [
        URL_SCHEMA,
        {
            "type": "object",
            "properties": {"url": URL_SCHEMA, "weight": number_schema(1, MAX_WEIGHT)},
            "required": ["url"],
            "additionalProperties": False,
        },
    ]
}
URLs = Annotated[
    tuple[Annotated[WeightedURL, PlainValidator(weighted_url)], ...],
    BeforeValidator(one_or_more),
    AfterValidator(partial(several, none="at least one URL, such as [http://127.0.0.1:8002]")),
    WithJsonSchema(
        {
            "anyOf": [*URL_ENTRY["anyOf"], {"type": "array", "minItems": 1, "items": URL_ENTRY}],
            "examples": [
                "http://127.0.0.1:8002",
                ["http://10.0.0.1:8002", {"url": "http://10.0.0.2:8002", "weight": 2}],
            ],
        }
    ),
]
Failures = Annotated[int, *whole(1, MAX_FAILURES, "a number")]
Percentage = Annotated[
    float,
    BeforeValidator(percentage),
    WithJsonSchema({"type": "string", "pattern": rf"^{PERCENTAGE.pattern}$|\$\{{", "examples": ["50%"]}),
]
Causes = Annotated[
    tuple[Annotated[str, BeforeValidator(partial(one_of, known=CAUSES)), WithJsonSchema({"enum": list(CAUSES)})], ...],
    AfterValidator(partial(several, none="at least one cause; to eject no address write most: 0%")),
    Field(json_schema_extra={"minItems": 1, "uniqueItems": True}),
]


class Eject(Section):
    """When an address of a service gets no requests for a while."""

    example: ClassVar[str] = "{failures: 3}"
    failures: Failures = Field(5, description="How many failures in a row eject an address.")
    on: Causes = Field(
        ("connect", "reset", "timeout"),
        json_schema_extra={"default": ["connect", "reset", "timeout"]},
        description="What counts as a failure of an address.",
    )
    rest: Duration = Field(
        10.0, json_schema_extra={"default": "10s"}, description="How long an ejected address rests at first."
    )
    max_rest: Duration = Field(
        300.0, json_schema_extra={"default": "5m"}, description="How long an address rests at most."
    )
    most: Percentage = Field(
        0.5, json_schema_extra={"default": "50%"}, description="How many of a service's addresses may rest at once."
    )


class HealthCheck(Section):
    """How the addresses of a service are checked."""

    example: ClassVar[str] = "{path: /healthz}"
    path: OwnPath = Field(description="Path that responds with 200 while the service can do its work.")
    interval: Duration = Field(
        5.0, json_schema_extra={"default": "5s"}, description="How long it is from one check of an address to the next."
    )
    timeout: Duration = Field(1.0, json_schema_extra={"default": "1s"}, description="How long a check may take.")
    healthy: Failures = Field(2, description="How many good checks in a row bring an address back.")
    unhealthy: Failures = Field(3, description="How many bad checks in a row eject an address.")


# A path alone is a check too.
Health = Annotated[
    HealthCheck,
    BeforeValidator(
        lambda value: value if isinstance(value, dict | HealthCheck) else {"path": value},
        json_schema_input_type=OwnPath | HealthCheck,
    ),
]
