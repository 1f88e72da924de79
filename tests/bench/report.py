"""What the samples show: medians over rounds and ratios within them, as tables, JSON, a chart, and in the documents."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from .idle import Idle
from .load import Sample

# What the others are compared with.
REFERENCE = "envoy"
OWN = {"fast", "drf"}
# nginx asked without a gateway: the limit of the load program and the upstream.
DIRECT = "direct"
BEGIN, END = "<!-- results, written by ./manage_all.sh bench --publish -->", "<!-- end of the results -->"

# By load and gateway, a sample a round.
Samples = Mapping[str, Mapping[str, Sequence[Sample]]]


def middle(samples: Samples, load: str, name: str, figure: str) -> float | None:
    """Return the median of a figure; `None` if it was not measured."""
    found = samples.get(load, {}).get(name)
    return median(getattr(sample, figure) for sample in found) if found else None


def ratio(samples: Samples, load: str, name: str, figure: str, to: tuple[str, str] | None = None) -> float | None:
    """Return the median of the ratios within the rounds, to Envoy's figure if not told otherwise."""
    other_load, other = to or (load, REFERENCE)
    mine, theirs = samples.get(load, {}).get(name), samples.get(other_load, {}).get(other)
    if not mine or not theirs:
        return None
    pairs = zip(mine, theirs, strict=True)
    return median(getattr(one, figure) / getattr(two, figure) for one, two in pairs)


def shown(value: float | None, form: str) -> str:
    """Return a figure as text; an empty one if there is none."""
    return "" if value is None else format(value, form)


def failures(samples: Samples) -> dict[str, int]:
    """Return how many requests failed, by gateway, of those where some did."""
    failed: dict[str, int] = {}
    for by_name in samples.values():
        for name, found in by_name.items():
            failed[name] = failed.get(name, 0) + sum(sample.failed for sample in found)
    return {name: count for name, count in failed.items() if count}


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table that reads well as text: the first column to the left, the others to the right."""
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width + 2) if not column else "-" * (width + 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([line(head), f"|{'|'.join(rule)}|", *(line(cells) for cells in body)])


# A column: its head, the load, the figure, its form; with `TO_ENVOY`, the ratio to Envoy's.
Column = tuple[str, str, str, str]
TO_ENVOY = "of Envoy's"
RATES: Sequence[Column] = [
    column
    for head, load in (("GET repeated/s", "get"), ("GET varied/s", "varied"), ("512 connections/s", "crowd"))
    for column in ((head, load, "rate", ",.0f"), (TO_ENVOY, load, "rate", ".2f"))
]
BODIES: Sequence[Column] = [
    column
    for head, load in (("POST 200 bytes/s", "post-200"), ("POST 20 KiB/s", "post-20k"))
    for column in ((head, load, "rate", ",.0f"), (TO_ENVOY, load, "rate", ".2f"))
]
COSTS: Sequence[Column] = [
    ("GET repeated", "get", "cpu", ",.1f"),
    ("GET varied", "varied", "cpu", ",.1f"),
    (TO_ENVOY, "varied", "cpu", ".2f"),
    ("POST 200 bytes", "post-200", "cpu", ",.1f"),
    ("POST 20 KiB", "post-20k", "cpu", ",.1f"),
    ("512 connections", "crowd", "cpu", ",.1f"),
    ("core, GET varied", "varied", "busy", ".0%"),
]
LATENCIES: Sequence[Column] = [
    ("p50 full", "varied", "p50_ms", ".2f"),
    ("p99 full", "varied", "p99_ms", ".2f"),
    (TO_ENVOY, "varied", "p99_ms", ".2f"),
    ("half load/s", "half", "rate", ",.0f"),
    ("p50 half", "half", "p50_ms", ".2f"),
    ("p99 half", "half", "p99_ms", ".2f"),
    (TO_ENVOY, "half", "p99_ms", ".2f"),
]


def gateways(samples: Samples, titles: Mapping[str, str], head: str, columns: Sequence[Column]) -> str:
    """Return a table with a line for each gateway."""
    body = [
        [
            title,
            *(
                shown((ratio if column == TO_ENVOY else middle)(samples, load, name, figure), form)
                for column, load, figure, form in columns
            ),
        ]
        for name, title in titles.items()
    ]
    return table([head, *(column[0] for column in columns)], body)


def scale(samples: Samples) -> str:
    """Return a table of what routes, users and workers change: CPU time of a request, and its ratio to few."""
    lines = [
        ("10 routes, 1 user", "varied", "fast", None),
        ("1,000 routes, 10,000 users", "many", "fast-1000", ("varied", "fast")),
        ("one worker, all cores", "scaled", "fast-1", None),
        ("two workers, all cores", "scaled", "fast-2", ("scaled", "fast-1")),
        ("Envoy, one thread, all cores", "scaled", "envoy-1", None),
        ("Envoy, two threads, all cores", "scaled", "envoy-2", ("scaled", "envoy-1")),
    ]
    body = [
        [
            title,
            shown(middle(samples, load, name, "rate"), ",.0f"),
            shown(middle(samples, load, name, "cpu"), ",.1f"),
            shown(ratio(samples, load, name, "cpu", to) if to else None, ".2f"),
        ]
        for title, load, name, to in lines
        if middle(samples, load, name, "cpu") is not None
    ]
    return table(["fast door, GET varied", "requests/s", "CPU µs/request", "CPU ratio"], body)


def idles(found: Mapping[str, tuple[float, Idle | None]], titles: Mapping[str, str]) -> str:
    """Return a table of the seconds of each start, and of the memory without and with idle connections."""
    count = max((idle.connections for _, idle in found.values() if idle), default=0)
    body = [
        [
            titles[name],
            f"{started:.2f}",
            *(
                ["", "", ""]
                if idle is None
                else [f"{idle.alone:,.0f}", f"{idle.crowded:,.0f}", f"{idle.kib_each:,.1f}"]
            ),
        ]
        for name, (started, idle) in found.items()
        if name in titles
    ]
    return table(["gateway", "start, s", "MiB", f"MiB, {count:,} idle connections", "KiB each"], body)


def text(
    run: Mapping[str, Any],
    samples: Samples,
    titles: Mapping[str, str],
    found: Mapping[str, tuple[float, Idle | None]],
) -> str:
    """Return the whole report as Markdown. `run` has where and how it was measured."""
    ordered = dict(sorted(titles.items(), key=lambda each: -(middle(samples, "varied", each[0], "rate") or 0)))
    where = f"{run['date']}, {run['processor']}, {run['cores']} cores, {run['python']}"
    how = f"{run['rounds']} rounds of {run['seconds']:g} s for each gateway and load"
    direct = shown(middle(samples, "varied", DIRECT, "rate"), ",.0f")
    failed = failures(samples)
    outcome = f"Requests failed: {failed}." if failed else "No request failed."
    return "\n\n".join(
        [
            f"{where}; {how}; 32 connections where the table has no other number.",
            *run["notes"],
            gateways(samples, ordered, "gateway", RATES),
            gateways(samples, ordered, "gateway", BODIES),
            gateways(samples, ordered, "CPU µs/request", COSTS),
            gateways(samples, ordered, "GET varied, ms", LATENCIES),
            scale(samples),
            idles(found, ordered),
            f"The load program and nginx, without a gateway between them: {direct} varied GETs/s. {outcome}",
        ]
    )


STYLE = """<style>
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .quiet { fill: #59636e } .own { font-weight: 600 } rect { fill: #8c959f } rect.own { fill: #0a7d5a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } rect { fill: #6e7681 } rect.own { fill: #2fbf8f }
  }
</style>"""


def chart(samples: Samples, titles: Mapping[str, str]) -> str:
    """Return a bar chart of the rates of varied GETs as SVG, readable on light and on dark ground."""
    measured = [(name, title, middle(samples, "varied", name, "rate")) for name, title in titles.items()]
    bars = sorted(((rate, name, title) for name, title, rate in measured if rate), reverse=True)
    left, longest, step, top = 232, 360, 38, 36
    described = escape("; ".join(f"{title}: {rate:,.0f}" for rate, _, title in bars))
    height = top + step * len(bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" width="760" height="{height}" role="img">',
        f"<title>Varied GETs a second on one core. {described}</title>",
        STYLE,
        '<text x="8" y="20" class="quiet">varied GETs a second on one core · ratio to Envoy in the same run</text>',
    ]
    for number, (rate, name, title) in enumerate(bars):
        y, length, kind = top + step * number, max(rate / bars[0][0] * longest, 1), "own" if name in OWN else "peer"
        against = ratio(samples, "varied", name, "rate")
        figure = f'{rate:,.0f}<tspan class="quiet">{"" if against is None else f" · {against:.2f}"}</tspan>'
        lines += [
            f'<text x="{left - 10}" y="{y + 17}" text-anchor="end" class="{kind}">{escape(title)}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="24" rx="3" class="{kind}"/>',
            f'<text x="{left + length + 8:.1f}" y="{y + 17}" class="{kind}">{figure}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def write(directory: Path, run: Mapping[str, Any], samples: Samples, titles: Mapping[str, str]) -> None:
    """Write `results.json`, with every sample, and `results.svg`."""
    each = {load: {name: list(map(asdict, found)) for name, found in by.items()} for load, by in samples.items()}
    results = {"run": run, "samples": each}
    (directory / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    (directory / "results.svg").write_text(chart(samples, titles))


def published(document: str, results: str, begin: str = BEGIN, end: str = END) -> str:
    """Return the document with the results between its two marks."""
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"expected {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{results}\n\n{end}{after}"
