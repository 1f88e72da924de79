"""`deprecated`: since when a route is deprecated, when it ends, and what replaces it."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from .section import Section
from .values import PathPattern, text

MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2}))?")
A_MOMENT: Final = "a date such as 2026-12-31, or a time with its offset such as 2026-12-31T12:00:00Z"
NEVER: Final = "never"
LINK: Final = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]*)?")
A_LINK: Final = "an http or https URL of a page, such as https://docs.example.org/v2"


def moment(value: object) -> datetime:
    """Return the time; of a date its first second in UTC."""
    written = text(value, A_MOMENT)
    with suppress(ValueError):
        if MOMENT.fullmatch(written):
            found = datetime.fromisoformat(written)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    raise ValueError(A_MOMENT)


def moment_or_never(value: object) -> datetime | None:
    """Return the time, `None` for `never`."""
    try:
        return None if value == NEVER else moment(value)
    except ValueError as exc:
        raise ValueError(f"{exc}, or {NEVER}") from None


def page_url(value: object) -> str:
    if not LINK.fullmatch(text(value, A_LINK)):
        raise ValueError(A_LINK)
    return str(value)


def moment_schema(*words: str) -> WithJsonSchema:
    pattern = "|".join((MOMENT.pattern, *words))
    return WithJsonSchema({"type": "string", "pattern": rf"^(?:{pattern})$|\$\{{", "examples": ["2026-12-31", *words]})


class Deprecated(Section):
    """A route that clients should stop using: since when, until when, and what they use instead."""

    example: ClassVar[str] = "{since: 2026-12-31}"
    since: Annotated[datetime | None, BeforeValidator(moment_or_never), moment_schema(NEVER)] = Field(
        None, description="When the route became deprecated, or will; `never` if it is not."
    )
    sunset: Annotated[datetime | None, BeforeValidator(moment), moment_schema()] = Field(
        None, description="When the route is expected to stop responding."
    )
    successor: PathPattern | None = Field(None, description="The path of the route that replaces it.")
    link: Annotated[
        str | None, BeforeValidator(page_url), WithJsonSchema({"type": "string", "pattern": r"^https?://|\$\{"})
    ] = Field(None, description="A page about the deprecation.")
