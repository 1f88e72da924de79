"""`cors`: which pages of other origins may use a route, by the Fetch standard."""

import re
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from .section import Section
from .values import TOKEN, Duration, Flag, Methods, matching, one_or_more, several, text

ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<more>/.*)?"
)
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
ANY: Final = "*"


def origin(value: object) -> str:
    """Return the origin as browsers send it: in lower case, without the scheme's default port."""
    expected = "an origin: scheme, host and optional port, such as https://app.example.org, or '*' for every origin"
    if text(value, expected) == ANY:
        return ANY
    if value == "null":
        raise ValueError(f"{expected}. Every sandboxed page and local file has the origin null, so it names no page")
    found = ORIGIN.fullmatch(str(value))
    if not found or not 0 < int(found["port"] or 80) < 2**16 or "*" in str(value):
        raise ValueError(expected)
    port = found["port"]
    own = f"{found['scheme']}://{found['host']}".lower()
    plain = own if port in {None, DEFAULT_PORTS[found["scheme"]]} else f"{own}:{port}"
    if found["more"]:
        raise ValueError(f"an origin without a path; write {plain}")
    return plain


def any_alone(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Reject `*` beside other origins, and duplicates."""
    several(origins)
    if ANY in origins and len(origins) > 1:
        raise ValueError("'*' alone, or the origins without it")
    return origins


ORIGIN_SCHEMA: Final = {"type": "string", "pattern": r"^(?:https?://[^/]+|\*)$|\$\{"}
Origin = Annotated[str, BeforeValidator(origin), WithJsonSchema(ORIGIN_SCHEMA)]
name_of_header = matching(TOKEN, "the name of a header, such as Content-Type; '*' does not cover Authorization")
HeaderName = Annotated[str, BeforeValidator(name_of_header), WithJsonSchema({"type": "string"})]
HeaderNames = Annotated[tuple[HeaderName, ...], AfterValidator(several)]


Origins = Annotated[
    tuple[Origin, ...],
    BeforeValidator(one_or_more),
    AfterValidator(any_alone),
    WithJsonSchema({"anyOf": [ORIGIN_SCHEMA, {"type": "array", "items": ORIGIN_SCHEMA, "uniqueItems": True}]}),
]


class Cors(Section):
    """The pages of other origins that may use a route."""

    example: ClassVar[str] = "{origins: ['https://shop.example.com']}"
    origins: Origins = Field(
        (), json_schema_extra={"default": []}, description="The origins whose pages may use the route, or '*' for all."
    )
    methods: Methods | None = Field(None, description="The methods that those pages may use.")
    headers: HeaderNames = Field(
        ("Authorization", "Content-Type"),
        json_schema_extra={"default": ["Authorization", "Content-Type"]},
        description="The request headers that those pages may set.",
    )
    expose: HeaderNames = Field(
        (), json_schema_extra={"default": []}, description="The response headers that those pages may read."
    )
    credentials: Flag = Field(False, description="Whether those pages may have the browser send cookies.")
    max_age: Duration = Field(
        600.0, json_schema_extra={"default": "10m"}, description="How long a browser may reuse a preflight's response."
    )
