"""Named rate limits: what gateway.yaml declares of them, and what no single key of theirs can show."""

import difflib
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from . import patterns
from .document import DocumentReader, Node, shown
from .section import Section
from .values import LIMIT_NAME, Burst, CountedBy, Flag, Rate, RateLimit


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
        """The rate with its burst."""
        return RateLimit(self.rate.count, self.rate.seconds, self.burst or 0)


def check(root: Node, reader: DocumentReader) -> None:
    """Note each name that is not a limit's, and each limit by a parameter that the path lacks."""
    limits = declared(root)
    for section in sections(root):
        node = section.get("rate_limit")
        for name in names_in(node):
            if isinstance(name.value, str) and LIMIT_NAME.fullmatch(name.value) and name.value not in limits:
                reader.fault(name.mark, unknown(name.value, limits))
    for route, node in effective(root):
        for name in names_in(node):
            limit = limits.get(str(name.value))
            check_parameter(route, name, limit, reader)


def check_parameter(route: Node, name: Node, limit: Node | None, reader: DocumentReader) -> None:
    by, path = limit.get("by") if limit else None, route.get("path")
    kind, _, parameter = str(by.value).partition(":") if by else ("", "", "")
    if kind != "param" or path is None or not isinstance(path.value, str):
        return
    try:
        found = patterns.parse(path.value).names
    except ValueError:
        return
    if parameter not in found:
        here = f"Its parameters are {', '.join(found)}." if found else "It has no parameters."
        own = name.mark if route.get("rate_limit") else path.mark
        lacks = f"limit {shown(name.value)} counts by {shown(by.value if by else '')}, which {shown(path.value)} lacks"
        reader.fault(own, f"{lacks}. {here} Name another limit in the route's `rate_limit`.")


def warn(root: Node, reader: DocumentReader) -> None:
    """Note limits that no route uses, and limits by user where requests need no user."""
    limits = declared(root)
    used = set()
    for route, node in effective(root):
        allow = route.get("allow")
        for name in names_in(node):
            used.add(str(name.value))
            limit = limits.get(str(name.value))
            by = limit.get("by") if limit else None
            if by and by.value == "user" and allow and allow.value == "public":
                counts = f"limit {shown(name.value)} counts by user, but `allow` is public"
                advice = "Requests without a user count by client address. Write `by: address` to count all of them so."
                reader.fault(name.mark if route.get("rate_limit") else allow.mark, f"{counts}. {advice}")
    for name_of, limit in limits.items():
        if name_of not in used:
            reader.fault(limit.key or limit.mark, f"no route uses limit {shown(name_of)}. Name it in a `rate_limit`.")


def declared(root: Node) -> dict[str, Node]:
    limits = root.get("limits")
    return limits.value if limits and isinstance(limits.value, dict) else {}


def sections(root: Node) -> Iterator[Node]:
    """Yield each section that may have policies."""
    if defaults := root.get("defaults"):
        yield defaults
    for name in "services", "routes":
        if found := root.get(name):
            yield from found.children()


def names_in(node: Node | None) -> list[Node]:
    """Return the names of a `rate_limit`; none if it is a rate, or a mapping, which is a fault of its own."""
    if node is None:
        return []
    if isinstance(node.value, str) and "/" not in node.value:
        return [node]
    return node.value if isinstance(node.value, list) else []


def effective(root: Node) -> Iterator[tuple[Node, Node]]:
    """Yield each route that has a `rate_limit`, with the nearest one."""
    routes, services, defaults = root.get("routes"), root.get("services"), root.get("defaults")
    for route in routes.children() if routes else []:
        name = route.get("service")
        service = services.get(name.value) if services and name and isinstance(name.value, str) else None
        found = next((node for each in (route, service, defaults) if each and (node := each.get("rate_limit"))), None)
        if found:
            yield route, found


def unknown(name: str, limits: dict[str, Node]) -> str:
    near = difflib.get_close_matches(name, limits, n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    known = (
        f"The limits are {', '.join(limits)}."
        if limits
        else "Declare it under `limits`, or write a rate such as 60/minute."
    )
    return f"unknown limit {shown(name)}. {meant}{known}"
