"""Requests, errors and percentiles of a window of time, by route, service and address. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.config import Config, Route
from gateway.history import DAY, HOUR, MINUTES, AnySeries, Ring, Slot, Times, total
from gateway.metrics import INVALID, Series, UpstreamSeries
from gateway.upstreams import measurements

WINDOWS: Final = {"5m": MINUTES, "1h": HOUR, "24h": DAY}
NAMES: Final = {"5m": "5 minutes", "1h": "1 hour", "24h": "24 hours"}
# What is not a route of gateway.yaml.
OWN: Final = "The gateway's own paths"
UNROUTED: Final = "Static files, and paths without a route"


@dataclass
class Figures:
    """Counts and times of a route, a service, an address, or all of them."""

    times: Times = field(default_factory=Times)
    errors: int = 0
    rejected: int = 0
    too_many: int = 0

    def add(self, status: int, times: Times) -> None:
        self.times.add(times.buckets, times.seconds)
        if status >= 500:
            self.errors += times.count
        elif status >= 400:
            self.rejected += times.count
        if status == 429:
            self.too_many += times.count

    @property
    def count(self) -> int:
        return self.times.count

    @property
    def error_share(self) -> float:
        """The share of responses of 500 and more, in per cent."""
        return 100 * self.errors / self.count if self.count else 0.0

    @property
    def rejected_share(self) -> float:
        """The share of responses of 400 to 499, in per cent."""
        return 100 * self.rejected / self.count if self.count else 0.0

    @property
    def p50(self) -> float:
        return self.times.percentile(0.5)

    @property
    def p95(self) -> float:
        return self.times.percentile(0.95)

    @property
    def p99(self) -> float:
        return self.times.percentile(0.99)


@dataclass(frozen=True)
class Subject:
    """What the charts show: all routes, or one route, service or address."""

    kind: str = ""
    name: str = ""

    @classmethod
    def of(cls, text: str, config: Config) -> "Subject":
        """Return the subject that a query names as `route:/api/orders`; all routes if there is no such one."""
        kind, _, name = text.partition(":")
        known = {
            "route": {route.path for route in config.routes},
            "service": set(config.services),
            "address": {name} if name.partition(" ")[0] in config.services else set(),
        }
        return cls(kind, name) if name in known.get(kind, ()) else cls()

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.kind else ""


class Board:
    """The figures by one configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        # By method and path.
        self.routes: dict[tuple[str, str], Route] = {}
        for route in config.routes:
            for method in route.methods:
                self.routes[method, route.path] = route
            if "GET" in route.methods:
                self.routes.setdefault(("HEAD", route.path), route)
        self.paths = {route.path: route for route in reversed(config.routes)}

    def route(self, series: Series) -> Route | None:
        """Return the route that a series counts; another method of its path, such as OPTIONS, is of its first route."""
        return self.routes.get((series.method, series.route)) or self.paths.get(series.route)

    def requests(self, counted: Mapping[AnySeries, Times], subject: Subject) -> Figures:
        """Return the figures of the subject."""
        found = Figures()
        for series, times in counted.items():
            if isinstance(series, UpstreamSeries):
                if subject.kind == "address" and f"{series.service} {series.address}" == subject.name:
                    add_upstream(found, series, times)
            elif series.status != INVALID and (route := self.route(series)) and is_of(route, subject):
                found.add(series.status, times)
        return found

    def by_route(self, counted: Mapping[AnySeries, Times]) -> list[tuple[Route, Figures]]:
        """Return each route with its figures, the busiest first."""
        found = {id(route): (route, Figures()) for route in self.config.routes}
        for series, times in counted.items():
            if isinstance(series, Series) and series.status != INVALID and (route := self.route(series)):
                found[id(route)][1].add(series.status, times)
        return sorted(found.values(), key=lambda each: -each[1].count)

    def by_service(self, counted: Mapping[AnySeries, Times]) -> list[tuple[str, Figures]]:
        return [(name, self.requests(counted, Subject("service", name))) for name in self.config.services]

    def others(self, counted: Mapping[AnySeries, Times]) -> list[tuple[str, Figures]]:
        """Return what has no route: the gateway's own paths together, and requests without a route."""
        own, unrouted = Figures(), Figures()
        for series, times in counted.items():
            if isinstance(series, Series) and series.status != INVALID and self.route(series) is None:
                (unrouted if series.route == "none" else own).add(series.status, times)
        return [(name, figures) for name, figures in ((OWN, own), (UNROUTED, unrouted)) if figures.count]


def is_of(route: Route, subject: Subject) -> bool:
    return not subject.kind or (subject.kind, subject.name) in {("route", route.path), ("service", route.service)}


def add_upstream(figures: Figures, series: UpstreamSeries, times: Times) -> None:
    """Add what is counted of an address. A connection error has no time, and a response of 500 has one already."""
    if series.what == measurements.SECONDS:
        figures.times.add(times.buckets, times.seconds)
    elif series.what == measurements.STATUS_ERRORS:
        figures.errors += times.count


def by_address(counted: Mapping[AnySeries, Times]) -> dict[tuple[str, str], Figures]:
    """Return the figures of each address of a service; `rejected` are its connection errors."""
    found: dict[tuple[str, str], Figures] = {}
    for series, times in counted.items():
        if isinstance(series, UpstreamSeries) and series.address:
            figures = found.setdefault((series.service, series.address), Figures())
            add_upstream(figures, series, times)
            if series.what.startswith(measurements.ERRORS) and series.what != measurements.STATUS_ERRORS:
                figures.rejected += times.count
    return found


def of_service(counted: Mapping[AnySeries, Times], service: str, what: str) -> int:
    """Return how often something happened at a service as a whole, such as a retry; `what` may be its beginning."""
    return sum(
        times.count
        for series, times in counted.items()
        if isinstance(series, UpstreamSeries) and (series.service, series.address) == (service, "")
        if series.what.startswith(what) and (what != measurements.REJECTED or series.what == what)
    )


def recorded_seconds(slots: Sequence[Slot], ring: Ring, now: float) -> float:
    """Return the seconds of the window since the first request in it."""
    first = next((slot.start for slot in slots if slot.times), None)
    return max(now - first, 1.0) if first is not None else ring.seconds


@dataclass(frozen=True)
class Point:
    """A slot of a chart. The last one is not over: `seconds` is how long it has lasted."""

    start: int
    seconds: float
    figures: Figures

    @property
    def rate(self) -> float:
        return self.figures.count / self.seconds


def points(board: Board, slots: Sequence[Slot], ring: Ring, subject: Subject, now: float) -> Iterator[Point]:
    """Yield the slots with the subject's figures."""
    for slot in slots:
        lasted = min(max(now - slot.start, 1.0), ring.seconds)
        yield Point(slot.start, lasted, board.requests(slot.times, subject))


def now_rate(found: Sequence[Point]) -> float:
    """Return the requests a second of the last slot that is over and the one that is not."""
    last = found[-2:]
    return sum(point.figures.count for point in last) / sum(point.seconds for point in last)


def sums(slots: Sequence[Slot]) -> dict[AnySeries, Times]:
    return total(list(slots))
