"""Compare the fast door of two checkouts, with policies and with the defaults, or with spans and without.

`./manage_all.sh bench --against PATH`, `./manage_all.sh bench --policies` and `./manage_all.sh bench --tracing`.

Both run side by side, and each round loads both at once for a second. The result is the median of the ratios within
the rounds: a machine with other work is slower for both, so the ratio holds where the figures themselves do not.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.otlp import Receiver

from .load import LOADS, Load, Sample, measure
from .peers import FAILURES, LIMITS, POLICIES, Peer, gatehouse
from .processes import Server
from .report import table

SECONDS = 1
# A gateway, and the one that it is measured beside.
Comparison = tuple[Peer, Peer]


@dataclass
class Pair:
    """The samples of one load: this checkout's and the other's, round by round."""

    load: Load
    ours: list[Sample] = field(default_factory=list)
    theirs: list[Sample] = field(default_factory=list)

    def ratios(self, figure: str) -> list[float]:
        """Return this checkout's figure by the other's in each round."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [getattr(mine, figure) / getattr(other, figure) for mine, other in pairs]


def policies() -> list[Comparison]:
    """Return the fast door with all policies of a route, and with all for a service that fails, by the defaults."""
    defaults = Peer("defaults", "the defaults", gatehouse("fast"))
    routes = gatehouse("fast", policies=POLICIES, limits=LIMITS)
    failures = gatehouse("fast", service=FAILURES, addresses=2)
    return [
        (Peer("policies", "All policies of a route", routes), defaults),
        (Peer("failures", "All policies for a service that fails", failures), defaults),
    ]


def checkouts(other: Path) -> list[Comparison]:
    """Return this checkout's fast door by the other's."""
    theirs = gatehouse("fast", project=other / "gateway_project")
    return [(Peer("ours", "This checkout", gatehouse("fast")), Peer("theirs", str(other), theirs))]


class Sink(Receiver):
    """A receiver of spans that only counts them."""

    count = 0

    def take(self, content: bytes) -> None:
        exported = ExportTraceServiceRequest.FromString(content)
        self.count += sum(len(scope.spans) for each in exported.resource_spans for scope in each.scope_spans)


def tracing() -> Iterator[Comparison]:
    """Yield the fast door that exports the spans of all requests, and of a twentieth, by one that exports none."""
    without = Peer("without", "no spans", gatehouse("fast"))
    with Sink() as receiver:
        every = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        some = every | {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.05"}
        for name, title, settings in ("all", "Spans of all requests", every), ("some", "Spans of a twentieth", some):
            yield Peer(name, title, gatehouse("fast", settings=settings)), without
            print(f"{receiver.count:,} spans received\n")  # noqa: T201
            receiver.count = 0


def measured(servers: Sequence[Server], upstream: Server, users: Path, rounds: int) -> list[Pair]:
    """Measure both at once with each load in turn, round by round."""
    pairs = [Pair(load) for load in LOADS]
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds + 1):
            for pair in pairs:
                both = pool.map(lambda server: measure(server, upstream, pair.load, users, SECONDS), servers)  # noqa: B023
                ours, theirs = both
                # The first round warms up.
                if number:
                    pair.ours.append(ours)
                    pair.theirs.append(theirs)
            print(f"round {number}/{rounds}", file=sys.stderr, flush=True)  # noqa: T201
    return pairs


def text(pairs: Sequence[Pair], other: object) -> str:
    """Return the report as Markdown: the ratios, and the range of the middle half of the rounds."""
    figures = ["CPU µs/request", f"of {other}", "ratio, CPU", "middle half", "ratio, requests/s", "ratio, p99"]
    heads = ["load", *figures, "failed"]
    body = []
    for pair in pairs:
        ratios = pair.ratios("cpu")
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        body.append(
            [
                pair.load.title,
                f"{median(sample.cpu for sample in pair.ours):.1f}",
                f"{median(sample.cpu for sample in pair.theirs):.1f}",
                f"{median(ratios):.3f}",
                f"{low:.3f} – {high:.3f}",
                f"{median(pair.ratios('rate')):.3f}",
                f"{median(pair.ratios('p99_ms')):.3f}",
                str(sum(sample.failed for sample in [*pair.ours, *pair.theirs])),
            ]
        )
    return table(heads, body)
