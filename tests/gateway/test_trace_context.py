"""W3C Trace Context in the gateway. The cases of both doors are in tests/conformance."""

from collections.abc import Callable

import pytest
from tests.gateway.runtimes import runtime

from chassis import logs
from chassis.trace_context import Sampler, parse_traceparent
from gateway.gate import Gate

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(("ratio", "least", "most"), [(0, 0, 0), (0.25, 400, 600), (1, 2000, 2000)])
def test_a_ratio_records_that_share_of_the_traces(
    configure: Callable[..., None], ratio: float, least: int, most: int
) -> None:
    configure()
    its = runtime().gate
    gate = Gate(
        its.table, its.authentication, its.passports, its.counters, trusted_proxies=(), allowed_hosts=("*",),
        sampler=Sampler("parentbased_traceidratio", ratio),
    )  # fmt: skip
    headers = gate.read_headers([], "192.0.2.1")
    recorded = sum(headers.traceparent(logs.new_id()).endswith("-01") for _ in range(2000))
    assert least <= recorded <= most
    # The trace of a client goes on as it began.
    known = gate.read_headers([("traceparent", f"00-{TRACE}-{SPAN}-01")], "192.0.2.1")
    assert known.traceparent(logs.new_id()).endswith("-01")


@pytest.mark.parametrize(("accepts", "kept"), [(False, []), (True, [("Baggage", "tenant=1")])])
def test_baggage_of_clients_is_forwarded_only_by_setting(
    configure: Callable[..., None], accepts: bool, kept: list[tuple[str, str]]
) -> None:
    configure()
    its = runtime().gate
    gate = Gate(
        its.table, its.authentication, its.passports, its.counters, trusted_proxies=(), allowed_hosts=("*",),
        accepts_baggage=accepts,
    )  # fmt: skip
    assert gate.read_headers([("Baggage", "tenant=1")], "192.0.2.1").forwardable == kept


def test_each_request_has_a_span_of_its_own_in_the_trace_of_its_client(configure: Callable[..., None]) -> None:
    configure()
    headers = runtime().gate.read_headers([("traceparent", f"00-{TRACE}-{SPAN}-01")], "192.0.2.1")
    spans = {headers.traceparent(logs.new_id()) for _ in range(1000)}
    assert len(spans) == 1000
    assert {parsed.trace_id for each in spans if (parsed := parse_traceparent(each))} == {TRACE}
