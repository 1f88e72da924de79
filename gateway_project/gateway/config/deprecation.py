"""`deprecated`: since when a route is deprecated, when it ends, and what replaces it."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from . import patterns
from .document import DocumentReader, Mark, Node, shown
from .levels import nearest, route_levels
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
    """Return the URL of a page."""
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


def check(root: Node, reader: DocumentReader) -> None:
    """Note what cannot be: an end before the beginning, and a successor that is not routed."""
    routed = list(routed_patterns(root))
    version, defaults = current(root), root.get("defaults")
    found: dict[Mark, str] = {}
    for levels in route_levels(root):
        since, sunset, successor = (nearest(levels, "deprecated", key) for key in ("since", "sunset", "successor"))
        if since is None:
            # Of `defaults` a `link` may be for the routes that are deprecated.
            declared = next(
                (node for level in levels if level is not defaults and (node := level.get("deprecated"))), None
            )
            if declared and isinstance(declared.value, dict):
                message = "`deprecated` has no `since`. Write the date on which clients were told, or will be."
                found[(declared.key or declared.mark)] = message
            continue
        begins, ends = moment_of(since), moment_of(sunset)
        if sunset and begins and ends and ends < begins:
            place = max(since, sunset, key=lambda node: node.mark.line)
            found[place.mark] = (
                f"`sunset` {shown(sunset.value)} is before `since` {shown(since.value)}. Exchange them, or change one."
            )
        path = levels[0].get("path")
        if begins and successor and path and (fault := fault_of_successor(path, successor, routed, version)):
            found[successor.mark] = fault
    for mark, message in found.items():
        reader.fault(mark, message)


def fault_of_successor(path: Node, successor: Node, routed: list[patterns.Pattern], version: str | None) -> str:
    """Return what is wrong with a route's successor, empty if nothing is, or if a path has a fault of its own."""
    try:
        old, new = (patterns.parse(str(node.value)) for node in (path, successor))
    except ValueError:
        return ""
    missing = set(new.segments) - {each for each in old.segments if each.kind != "static"}
    missing = {each for each in missing if each.kind != "static"}
    if missing:
        names = ", ".join(sorted(each.text for each in missing))
        return (
            f"successor {shown(successor.value)} has parameters that the path {shown(path.value)} lacks: {names}. "
            "Use those of the path."
        )
    old, new = patterns.normalised(old, version), patterns.normalised(new, version)
    if old.shape == new.shape:
        return f"successor {shown(successor.value)} is the deprecated path itself. Name another route's path."
    if not any(pattern.covers(new) for pattern in routed):
        return f"successor {shown(successor.value)} is not routed. Add its route, or name one that is."
    return ""


def warn(root: Node, reader: DocumentReader, now: datetime) -> None:
    """Note routes that should have ended, and those whose clients are not told what to use instead."""
    found: dict[Mark, str] = {}
    for levels in route_levels(root):
        since, sunset = (nearest(levels, "deprecated", key) for key in ("since", "sunset"))
        if since is None or moment_of(since) is None:
            continue
        if sunset and (ends := moment_of(sunset)) and ends < now:
            found[sunset.mark] = (
                f"`sunset` {shown(sunset.value)} has passed, and the route still responds. "
                "Remove the route, or set a later date."
            )
        if not nearest(levels, "deprecated", "successor") and not nearest(levels, "deprecated", "link"):
            found[since.mark] = (
                "`deprecated` without `successor` or `link`: clients are not told what to use instead. Add one."
            )
    for mark, message in found.items():
        reader.fault(mark, message)


def moment_of(node: Node | None) -> datetime | None:
    """Return the time of a node; `None` for `never` and for an invalid time."""
    with suppress(ValueError):
        return moment(node.value) if node else None
    return None


def current(root: Node) -> str | None:
    versions = root.get("versions")
    node = versions.get("current") if versions else None
    return node.value if node and isinstance(node.value, str) else None


def routed_patterns(root: Node) -> Iterator[patterns.Pattern]:
    """Yield the patterns of the routes with valid paths."""
    routes = root.get("routes")
    for route in routes.children() if routes else []:
        path = route.get("path")
        with suppress(ValueError):
            if path and isinstance(path.value, str):
                yield patterns.normalised(patterns.parse(path.value), current(root))
