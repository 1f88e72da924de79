"""What the samples say: medians over rounds and ratios within them, as a table, JSON, a chart, and in the documents."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from .load import Sample

# What the others are compared with.
REFERENCE = "envoy"
FAST, MANY_ROUTES = "fast", "fast-1000"
OWN = {FAST, "drf"}
# How many times the reference's the fast door's p99 may be.
TAIL = 2
# nginx asked without a gateway: how much the load program and the upstream can do at all.
DIRECT = "direct"
BEGIN, END = "<!-- results, written by ./manage_all.sh bench --publish -->", "<!-- end of the results -->"

Samples = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class Row:
    """One gateway over all rounds: medians, ratios to the reference (where it was measured), sums."""

    name: str
    title: str
    rate: float
    lowest: float
    highest: float
    ratio: float | None
    p50_ms: float
    p99_ms: float
    p99_ratio: float | None
    cpu: float
    busy: float
    failed: int


def ratio(samples: Samples, name: str, to: str, figure: str) -> float | None:
    """Return the median over the rounds of one's figure by the other's in the same round, `None` without the other."""
    if name not in samples or to not in samples:
        return None
    pairs = zip(samples[name], samples[to], strict=True)
    return median(getattr(mine, figure) / getattr(theirs, figure) for mine, theirs in pairs)


def rows(samples: Samples, titles: Mapping[str, str]) -> list[Row]:
    """Return a row for each gateway, the fastest first."""
    found = []
    for name, measured in samples.items():
        rates = [sample.rate for sample in measured]
        found.append(
            Row(
                name=name,
                title=titles[name],
                rate=median(rates),
                lowest=min(rates),
                highest=max(rates),
                ratio=ratio(samples, name, REFERENCE, "rate"),
                p50_ms=median(sample.p50_ms for sample in measured),
                p99_ms=median(sample.p99_ms for sample in measured),
                p99_ratio=ratio(samples, name, REFERENCE, "p99_ms"),
                cpu=median(sample.cpu for sample in measured),
                busy=median(sample.busy for sample in measured),
                failed=sum(sample.failed for sample in measured),
            )
        )
    return sorted(found, key=lambda row: row.rate, reverse=True)


def compared(all_rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the comparison; the others have tables of their own."""
    return [row for row in all_rows if row.name not in {DIRECT, MANY_ROUTES}]


def times(value: float | None) -> str:
    """Return a ratio as text."""
    return "" if value is None else f"{value:.2f}"


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


def comparison(all_rows: Sequence[Row], reference: str) -> str:
    """Return the table of the gateways."""
    rates = ["requests/s", "lowest – highest", f"of {reference}'s"]
    heads = ["gateway", *rates, "p50 ms", "p99 ms", "CPU µs/request", "core", "failed"]
    body = [
        [
            row.title,
            f"{row.rate:,.0f}",
            f"{row.lowest:,.0f} – {row.highest:,.0f}",
            times(row.ratio),
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.cpu:,.1f}",
            f"{row.busy:.0%}",
            str(row.failed),
        ]
        for row in compared(all_rows)
    ]
    return table(heads, body)


def text(run: Mapping[str, Any], all_rows: Sequence[Row], samples: Samples) -> str:
    """Return the whole report as Markdown. `run` says where and how it was measured."""
    by_name = {row.name: row for row in all_rows}
    reference = by_name[REFERENCE].title.partition(",")[0] if REFERENCE in by_name else REFERENCE
    fast, many, theirs = by_name.get(FAST), by_name.get(MANY_ROUTES), by_name.get(REFERENCE)
    where = f"{run['date']}, {run['processor']}, {run['cores']} cores, Python {run['python']}"
    how = f"{run['connections']} connections, {run['rounds']} rounds of {run['seconds']:g} s each"
    direct = f"{by_name[DIRECT].rate:,.0f} requests/s"
    parts = [
        f"{where}; {how}.",
        *run["notes"],
        comparison(all_rows, reference),
        f"The load program and nginx, without a gateway between them: {direct}.",
    ]
    if fast and many:
        rates = [f"{fast.rate:,.0f}", f"{many.rate:,.0f}", times(ratio(samples, MANY_ROUTES, FAST, "rate"))]
        parts.append(table(["fast door", "10 routes", "1,000 routes", "ratio"], [["requests/s", *rates]]))
    if fast and theirs and fast.p99_ratio:
        tails = [f"{fast.p99_ms:.2f}", f"{theirs.p99_ms:.2f}", times(fast.p99_ratio)]
        within = "yes" if fast.p99_ratio <= TAIL else "no"
        heads = [f"at {run['connections']} connections", "fast door", reference, "ratio", f"within {TAIL}"]
        parts.append(table(heads, [["p99 ms", *tails, within]]))
    return "\n\n".join(parts)


STYLE = """<style>
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .quiet { fill: #59636e } .own { font-weight: 600 } rect { fill: #8c959f } rect.own { fill: #0a7d5a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } rect { fill: #6e7681 } rect.own { fill: #2fbf8f }
  }
</style>"""


def chart(all_rows: Sequence[Row]) -> str:
    """Return a bar chart of the requests a second as SVG, readable on light and on dark ground."""
    bars = compared(all_rows)
    left, longest, step, top = 232, 360, 38, 36
    most = max(row.rate for row in bars)
    described = escape("; ".join(f"{row.title}: {row.rate:,.0f}" for row in bars))
    height = top + step * len(bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" width="760" height="{height}" role="img">',
        f"<title>Requests a second on one core. {described}</title>",
        STYLE,
        '<text x="8" y="20" class="quiet">requests a second on one core · ratio to Envoy in the same run</text>',
    ]
    for number, row in enumerate(bars):
        y, length, kind = top + step * number, max(row.rate / most * longest, 1), "own" if row.name in OWN else "peer"
        title, against = escape(row.title), "" if row.ratio is None else f" · {times(row.ratio)}"
        figure = f'{row.rate:,.0f}<tspan class="quiet">{against}</tspan>'
        lines += [
            f'<text x="{left - 10}" y="{y + 17}" text-anchor="end" class="{kind}">{title}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="24" rx="3" class="{kind}"/>',
            f'<text x="{left + length + 8:.1f}" y="{y + 17}" class="{kind}">{figure}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def write(directory: Path, run: Mapping[str, Any], all_rows: Sequence[Row], samples: Samples) -> None:
    """Write `results.json`, with every sample, and `results.svg`."""
    results = {
        "run": run,
        "rows": [asdict(row) for row in all_rows],
        "samples": {name: [asdict(sample) for sample in measured] for name, measured in samples.items()},
    }
    (directory / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    (directory / "results.svg").write_text(chart(all_rows))


def published(document: str, results: str, begin: str = BEGIN, end: str = END) -> str:
    """Return the document with the results between its two marks."""
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"expected {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{results}\n\n{end}{after}"
