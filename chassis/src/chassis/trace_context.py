"""W3C Trace Context: `traceparent` and `tracestate`, by its rules (https://www.w3.org/TR/trace-context/).

A value that breaks a rule counts as missing, so that its receiver starts another trace.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

# Version, trace id, id of the parent's span, flags; a later version than 00 may have more.
TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
KEY: Final = re.compile(r"[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}")
VALUE: Final = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
MAX_MEMBERS: Final = 32
SAMPLED: Final = 0x01
NO_TRACE: Final = "0" * 32
NO_SPAN: Final = "0" * 16


class TraceParent(NamedTuple):
    """The span that caused a request."""

    trace_id: str
    span_id: str
    is_sampled: bool


def parse_traceparent(value: str | None) -> TraceParent | None:
    """Return what the header's value names, or `None` if it is missing or malformed."""
    found = TRACEPARENT.fullmatch(value) if value else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or trace_id == NO_TRACE or span_id == NO_SPAN:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & SAMPLED))


def parse_tracestate(values: Sequence[str]) -> str | None:
    """Return the values of all `tracestate` headers as one, or `None` if there are none or one is malformed."""
    members = [member for value in values for part in value.split(",") if (member := part.strip(" \t"))]
    if not members or len(members) > MAX_MEMBERS:
        return None
    keys = set()
    for member in members:
        key, separator, value = member.partition("=")
        if not separator or key in keys or not KEY.fullmatch(key) or not VALUE.fullmatch(value):
            return None
        keys.add(key)
    return ",".join(members)


SamplerName = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class Sampler(NamedTuple):
    """Which traces are recorded, by OpenTelemetry's OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG."""

    name: str = "parentbased_always_on"
    ratio: float = 1.0

    def flags(self, parent: TraceParent | None) -> str | None:
        """Return the flags of a span as `traceparent` has them, or `None` if its trace id decides."""
        if parent is not None and self.name.startswith("parentbased_"):
            return "01" if parent.is_sampled else "00"
        if self.name.endswith("traceidratio"):
            return None
        return "00" if self.name.endswith("always_off") else "01"

    def flags_by_ratio(self, trace_id: str) -> str:
        """Return the flags for a trace id: SDKs with the same ratio decide the same."""
        return "01" if int(trace_id[16:], 16) < round(self.ratio * 2**64) else "00"
