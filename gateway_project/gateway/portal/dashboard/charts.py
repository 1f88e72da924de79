"""Two charts over time as the geometry of an SVG: requests a second by outcome, and percentiles. No I/O."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any, Final

from .figures import Point

# Of the plot. A unit of the height is a pixel; the width stretches with the screen, and text does not.
WIDTH: Final = 600
HEIGHT: Final = 160


@dataclass(frozen=True)
class Chart:
    """What the template draws: numbers are in the units of the plot."""

    ticks: list[tuple[float, str]]
    # Per cent of the width, label, and the text's anchor.
    moments: list[tuple[float, str, str]]
    # One for each slot: x, width, what it shows on hover, and the bars as y, height, kind.
    columns: list[tuple[float, float, str, list[tuple[float, float, str]]]]
    # Kind, label, points of the line, and where its label stands.
    lines: list[tuple[str, str, str, float]]
    width: int = WIDTH
    height: int = HEIGHT


def ceiling(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20 and so on."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(value))
    return next(step * unit for step in (1, 2, 5, 10) if step * unit >= value * (1 - 1e-9))


def number(value: float) -> str:
    """Return a number in three digits, such as 1,234, 12.3 or 0.0123."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{min(4, max(0, 2 - floor(log10(value))))}f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """Return seconds for people, such as 1.2 ms."""
    return f"{number(seconds)} s" if seconds >= 1 else f"{number(seconds * 1000)} ms"


def clock(start: int) -> str:
    return time.strftime("%H:%M:%S" if start % 60 else "%H:%M", time.gmtime(start))


def requests_chart(points: Sequence[Point]) -> Chart:
    """Return a bar for each slot: successes, rejections and errors on each other."""
    top = ceiling(max(point.rate for point in points))
    scale = HEIGHT / top
    step = WIDTH / len(points)
    columns = []
    for index, point in enumerate(points):
        figures, y, bars = point.figures, float(HEIGHT), []
        counts = {
            "ok": figures.count - figures.errors - figures.rejected,
            "rejected": figures.rejected,
            "error": figures.errors,
        }
        for kind, count in counts.items():
            # What happened at all is seen.
            height = max(count / point.seconds * scale, 1.5) if count else 0.0
            y -= height
            if height:
                bars.append((round(y, 1), round(height, 1), kind))
        columns.append((round(index * step, 1), round(step, 1), described(point), bars))
    return Chart(ticks(top, number), moments(points), columns, [])


def times_chart(points: Sequence[Point]) -> Chart:
    """Return a line for each percentile, with gaps where there were no requests."""
    names = ("p99", "p95", "p50")
    values = {name: [getattr(point.figures, name) for point in points] for name in names}
    top = ceiling(max(values["p99"]))
    step = WIDTH / len(points)
    lines = []
    for name in names:
        path, last, gap = [], 0.0, True
        for index, value in enumerate(values[name]):
            if not points[index].figures.count:
                gap = True
                continue
            x, y = (index + 0.5) * step, HEIGHT - value * HEIGHT / top
            # A slot on its own is a short line.
            path.append(f"M{x - step / 3:.1f} {y:.1f}H{x:.1f}" if gap else f"L{x:.1f} {y:.1f}")
            last, gap = y, False
        if path:
            lines.append((name, name, "".join(path), last))
    columns: list[Any] = [
        (round(index * step, 1), round(step, 1), described(point), []) for index, point in enumerate(points)
    ]
    return Chart(ticks(top, duration), moments(points), columns, spread(lines))


def spread(lines: list[tuple[str, str, str, float]]) -> list[tuple[str, str, str, float]]:
    """Return the lines with their labels at least a line's height from each other."""
    found: list[tuple[str, str, str, float]] = []
    below = HEIGHT + 12.0
    for kind, label, path, y in sorted(lines, key=lambda line: line[0]):
        below = min(y + 4, below - 12)
        found.append((kind, label, path, round(below, 1)))
    return found


def described(point: Point) -> str:
    figures = point.figures
    if not figures.count:
        return f"{clock(point.start)} UTC: no requests"
    return (
        f"{clock(point.start)} UTC: {number(point.rate)} requests/s, {figures.errors} errors, "
        f"{figures.rejected} client errors; p50 {duration(figures.p50)}, p95 {duration(figures.p95)}, "
        f"p99 {duration(figures.p99)}"
    )


def ticks(top: float, label: Callable[[float], str]) -> list[tuple[float, str]]:
    return [(HEIGHT * (1 - share), label(top * share)) for share in (0, 0.5, 1)]


def moments(points: Sequence[Point]) -> list[tuple[float, str, str]]:
    """Return the labels below a chart: the first moment, the middle and the last."""
    middle = ceil(len(points) / 2)
    return [
        (0, clock(points[0].start), "start"),
        (round(100 * middle / len(points), 1), clock(points[middle].start), "middle"),
        (100, "now", "end"),
    ]
