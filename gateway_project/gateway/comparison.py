"""What another gateway.yaml would change: for `check --diff`.

The routes of both files are compared by what matches: for each path and method of either file, the route that would
get the request before and after. So a route that is removed, but whose requests another one matches, is found to be
opened if that one lets in more clients.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from .config import Config, Limit, Lines, Policies, Route, Service, written
from .policy.rejections import RequestRejected
from .policy.routes import RouteTable

# A segment that no route has as it is: it stands for the value of a parameter.
ANY_SEGMENT: Final = "~"
# Of the rest of a path: more segments than a route with a parameter for each has.
ANY_REST: Final = "/".join([ANY_SEGMENT] * 32)
# What lets clients in, in the order of the list; the other keys of a route are compared by their values.
ACCESS: Final = ("allow", "allow_from")
# How many an `allow` lets in if it is not a list of roles.
RANKS: Final[dict[object, int]] = {"public": 2, "authenticated": 1}
LETS_IN: Final = frozenset({"added", "opened"})
# Keys of the file that are compared as they are.
GENERAL: Final = ("versions", "login", "roles")
NO_ROUTE: Final = "(no route)"


@dataclass(frozen=True)
class Side:
    """One of the two files, with the name that lines are shown with."""

    name: str
    config: Config
    lines: Lines


@dataclass(frozen=True)
class Change:
    """One difference: `added`, `removed`, `opened`, `narrowed` or `changed`. Secrets are hidden."""

    change: str
    # `route`, `service`, `limit` or `file`.
    of: str
    # The route's path, or the name.
    name: str
    methods: tuple[str, ...]
    key: str
    before: str
    after: str
    file: str
    line: int | None


class Matched:
    """Which route of a file gets a request."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.table = RouteTable(side.config)
        self.places = {id(route): index for index, route in enumerate(side.config.routes)}

    def index(self, method: str, path: str) -> int | None:
        with suppress(RequestRejected):
            match = self.table.match(method, path)
            return None if match.handles_options else self.places[id(match.route)]
        return None

    def route(self, index: int) -> Route:
        return self.side.config.routes[index]


def compare(before: Side, after: Side) -> list[Change]:
    """Return what changes for clients and services if `after` replaces `before`."""
    # The policies of services are those of their routes.
    of_services = [key for key in Service.model_fields if key not in Policies.model_fields]
    found = [
        *routes(before, after),
        *entries("service", "url", of_services, before, after),
        *entries("limit", "rate", Limit.model_fields, before, after),
    ]
    for key in GENERAL:
        found += change("file", key, key, before.config, after.config, after.name, after.lines.general(key))
    return found


def routes(before: Side, after: Side) -> Iterator[Change]:
    """Yield the changes of routes, those of one pair of routes once for all of their methods."""
    old, new = Matched(before), Matched(after)
    found: dict[tuple[str, int | None, int | None], list[str]] = {}
    seen = set()
    for matched in (new, old):
        for route in matched.side.config.routes:
            path = sample(route.path)
            for method in route.methods:
                if (path, method) not in seen:
                    seen.add((path, method))
                    pair = route.path, old.index(method, path), new.index(method, path)
                    found.setdefault(pair, []).append(method)
    for (path, one, other), methods in found.items():
        if one is None and other is not None:
            allow = written(new.route(other), "allow")
            line = after.lines.route(other)
            yield Change("added", "route", path, tuple(methods), "allow", NO_ROUTE, allow, after.name, line)
        elif one is not None and other is None:
            allow = written(old.route(one), "allow")
            line = before.lines.route(one)
            yield Change("removed", "route", path, tuple(methods), "allow", allow, NO_ROUTE, before.name, line)
        elif one is not None and other is not None:
            yield from route_changes(old, new, (one, other), path, tuple(methods))


def sample(path: str) -> str:
    """Return a path that a route matches, and no route that is more specific."""
    return "/".join(
        ANY_REST if segment.endswith("...}") else ANY_SEGMENT if segment.startswith("{") else segment
        for segment in path.split("/")
    )


def route_changes(
    old: Matched, new: Matched, places: tuple[int, int], path: str, methods: tuple[str, ...]
) -> Iterator[Change]:
    """Yield what changes for the requests of one route."""
    first, second = old.route(places[0]), new.route(places[1])
    keys = [*ACCESS, "service", "rewrite", "websocket", "browser", *Policies.model_fields]
    for key in dict.fromkeys(keys):
        if getattr(first, key) != getattr(second, key):
            values = said(first, key), said(second, key)
            line = new.side.lines.policy(places[1], key) or new.side.lines.route(places[1])
            for change in kinds(key, first, second):
                yield Change(change, "route", path, methods, key, *values, new.side.name, line)


def kinds(key: str, before: Route, after: Route) -> list[str]:
    """Return the kinds of change that other values of a key are: it may both let clients in and shut others out."""
    if key == "allow":
        opened, narrowed = not is_no_wider(after, before), not is_no_wider(before, after)
    elif key == "allow_from":
        opened, narrowed = not is_within(after, before), not is_within(before, after)
    else:
        return ["changed"]
    return [kind for kind, applies in (("opened", opened), ("narrowed", narrowed)) if applies] or ["changed"]


def is_no_wider(one: Route, other: Route) -> bool:
    """Return whether all users that one `allow` lets in are let in by the other."""
    if isinstance(one.allow, tuple) and isinstance(other.allow, tuple):
        return set(one.allow) <= set(other.allow)
    return RANKS.get(one.allow, 0) <= RANKS.get(other.allow, 0)


def is_within(inner: Route, outer: Route) -> bool:
    """Return whether each address that may use one route may use the other."""
    if not outer.allow_from:
        return True
    return bool(inner.allow_from) and all(
        any(one.version == other.version and one.subnet_of(other) for other in outer.allow_from)  # type: ignore[arg-type]
        for one in inner.allow_from
    )


def entries(of: str, first: str, keys: Iterable[str], before: Side, after: Side) -> Iterator[Change]:
    """Yield the changes of services or limits, by name; their `first` key describes an added or removed one."""
    section = f"{of}s"
    old, new = getattr(before.config, section), getattr(after.config, section)
    for name in dict.fromkeys([*new, *old]):
        if name not in old:
            line = after.lines.entry(section, name)
            yield Change("added", of, name, (), first, "", said(new[name], first), after.name, line)
        elif name not in new:
            line = before.lines.entry(section, name)
            yield Change("removed", of, name, (), first, said(old[name], first), "", before.name, line)
        else:
            for key in keys:
                line = after.lines.key_of_entry(section, name, key)
                yield from change(of, name, key, old[name], new[name], after.name, line)


def change(of: str, name: str, key: str, old: Any, new: Any, file: str, line: int | None) -> Iterator[Change]:  # noqa: ANN401, PLR0917  # sections of the file
    """Yield the change of a key, if there is one."""
    if getattr(old, key) != getattr(new, key):
        yield Change("changed", of, name, (), key, said(old, key), said(new, key), file, line)


def said(section: Any, key: str) -> str:  # noqa: ANN401  # a section of the file
    """Return a value as the file writes it, `-` where nothing is set."""
    value = getattr(section, key)
    return "-" if value in (None, (), "") else written(section, key) or "-"


def lets_in(changes: list[Change]) -> bool:
    """Return whether a client may send a request that it could not."""
    return any(each.change in LETS_IN and each.of == "route" for each in changes)


def as_text(changes: list[Change]) -> Iterator[str]:
    for each in changes:
        methods = ",".join(each.methods)
        subject = f"{methods} {each.name}" if each.of == "route" else f"{each.of} {each.name}"
        place = f"({each.file}:{each.line})" if each.line else f"({each.file})"
        yield f"{each.change:<8}  {subject}  {in_words(each)}  {place}"


def in_words(change: Change) -> str:
    if change.change == "added":
        return change.after
    if change.change == "removed":
        return f"was {change.before}"
    if change.before == change.after:
        return f"{change.key}: {change.after}, with another hidden value"
    return f"{change.key}: {change.after}, was {change.before}"
