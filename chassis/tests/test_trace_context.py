"""W3C Trace Context: what is valid, and which traces are recorded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.trace_context import Sampler, TraceParent, parse_traceparent, parse_tracestate

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (f"00-{TRACE}-{SPAN}-01", TraceParent(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-00", TraceParent(TRACE, SPAN, False)),
        (f"00-{TRACE}-{SPAN}-ff", TraceParent(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-02", TraceParent(TRACE, SPAN, False)),
        (f"01-{TRACE}-{SPAN}-01", TraceParent(TRACE, SPAN, True)),
        (f"01-{TRACE}-{SPAN}-01-what-comes", TraceParent(TRACE, SPAN, True)),
        (f"01-{TRACE}-{SPAN}-01.what-comes", None),
        (f"00-{TRACE}-{SPAN}-01-", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"0-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}-0x", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN[:-1]}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}-01\n", None),
        (f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_a_traceparent_is_valid_by_every_rule_or_missing(value: str | None, parsed: TraceParent | None) -> None:
    assert parse_traceparent(value) == parsed


@given(st.text(alphabet="0123456789abcdefAF-", max_size=70))
def test_any_traceparent_that_is_accepted_has_ids_that_can_be_sent_on(value: str) -> None:
    parsed = parse_traceparent(value)
    assert parsed is None or parse_traceparent(f"00-{parsed.trace_id}-{parsed.span_id}-01") is not None


@pytest.mark.parametrize(
    ("values", "parsed"),
    [
        ([], None),
        ([""], None),
        (["a=1"], "a=1"),
        (["a=1,b=2", "c=3"], "a=1,b=2,c=3"),
        (["a=1 , ,\tb=2,"], "a=1,b=2"),
        (["tenant@system=x y"], "tenant@system=x y"),
        (["a*/_-=!~"], "a*/_-=!~"),
        (["a=1,a=2"], None),
        (["a=1", "a=2"], None),
        (["A=1"], None),
        (["a"], None),
        (["a="], None),
        (["=1"], None),
        (["a=b=c"], None),
        (["a=é"], None),
        (["a@b@c=1"], None),
        (["@a=1"], None),
        (["a" * 256 + "=1"], "a" * 256 + "=1"),
        (["a" * 257 + "=1"], None),
        (["a=" + "1" * 256], "a=" + "1" * 256),
        (["a=" + "1" * 257], None),
        ([",".join(f"k{number}=1" for number in range(32))], ",".join(f"k{number}=1" for number in range(32))),
        ([",".join(f"k{number}=1" for number in range(33))], None),
    ],
)
def test_a_tracestate_is_valid_by_every_rule_or_missing(values: list[str], parsed: str | None) -> None:
    assert parse_tracestate(values) == parsed


RECORDED, NOT_RECORDED = TraceParent(TRACE, SPAN, True), TraceParent(TRACE, SPAN, False)


@pytest.mark.parametrize(
    ("name", "alone", "recorded", "not_recorded"),
    [
        ("always_on", "01", "01", "01"),
        ("always_off", "00", "00", "00"),
        ("traceidratio", None, None, None),
        ("parentbased_always_on", "01", "01", "00"),
        ("parentbased_always_off", "00", "01", "00"),
        ("parentbased_traceidratio", None, "01", "00"),
    ],
)
def test_each_sampler_decides_on_a_new_trace_and_on_one_that_goes_on(
    name: str, alone: str | None, recorded: str | None, not_recorded: str | None
) -> None:
    sampler = Sampler(name)
    assert [sampler.flags(parent) for parent in (None, RECORDED, NOT_RECORDED)] == [alone, recorded, not_recorded]


@pytest.mark.parametrize(
    ("ratio", "trace_id", "flags"),
    [
        (0.25, "0" * 16 + "3fffffffffffffff", "01"),
        (0.25, "0" * 16 + "4000000000000000", "00"),
        (0.0, "0" * 32, "00"),
        (1.0, "f" * 32, "01"),
    ],
)
def test_a_ratio_records_the_traces_whose_id_is_below_it(ratio: float, trace_id: str, flags: str) -> None:
    assert Sampler("traceidratio", ratio).flags_by_ratio(trace_id) == flags
