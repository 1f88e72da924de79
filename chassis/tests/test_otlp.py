"""The encoding of spans, as OpenTelemetry's own messages decode it."""

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from chassis import otlp

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN, PARENT = "00f067aa0ba902b7", "b7ad6b7169203331"
texts = st.text(st.characters(exclude_categories=["Cs"]))


def decode(*spans: bytes) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(
        otlp.request(otlp.resource({"service.name": "shop"}), "gatehouse", spans)
    )


def decode_span(rest: bytes, parent: str = PARENT, *, remote: bool = True) -> Span:
    (resource,) = decode(otlp.span(TRACE, SPAN, parent, 2**60, 2**60 + 5, rest, remote=remote)).resource_spans
    (span,) = resource.scope_spans[0].spans
    return span


def test_a_batch_has_one_resource_one_scope_and_its_spans_in_order() -> None:
    each = [otlp.span(TRACE, f"{number:016x}", "", 1, 2, b"", remote=False) for number in range(1, 301)]
    (resource,) = decode(*each).resource_spans
    (attribute,) = resource.resource.attributes
    assert (attribute.key, attribute.value.string_value) == ("service.name", "shop")
    (scope,) = resource.scope_spans
    assert scope.scope.name == "gatehouse"
    assert [int(span.span_id.hex(), 16) for span in scope.spans] == [*range(1, 301)]


def test_a_span_has_its_ids_times_kind_and_status() -> None:
    span = decode_span(otlp.described("GET /items", otlp.SERVER) + otlp.ERROR)
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (2**60, 2**60 + 5)
    assert (span.name, span.kind, span.status.code) == ("GET /items", Span.SPAN_KIND_SERVER, Status.STATUS_CODE_ERROR)
    assert decode_span(otlp.described("GET orders", otlp.CLIENT)).kind == Span.SPAN_KIND_CLIENT


def test_the_flags_name_where_the_parent_is() -> None:
    assert decode_span(b"", PARENT, remote=True).flags == 0x301
    assert decode_span(b"", PARENT, remote=False).flags == 0x101
    root = decode_span(b"", "", remote=True)
    assert (root.parent_span_id, root.flags) == (b"", 0x101)


@given(texts, st.dictionaries(texts, st.one_of(texts, st.integers(0, 2**63 - 1), st.none())))
# Lengths that take two bytes, of the text alone, and of what is around it.
@example("n" * 130, {"url.path": "/" + "x" * 8000, "key": "x" * 119, "k" * 117: "", "other": "é" * 60})
@example("", {"key": "x" * 117, "size": 127, "sizes": 128, "big": 2**63 - 1, "none": 0})
def test_names_and_attributes_are_what_was_encoded(name: str, named: dict[str, str | int | None]) -> None:
    span = decode_span(otlp.described(name, otlp.SERVER) + otlp.attributes(named))
    assert span.name == name
    decoded = {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}
    assert decoded == {key: value for key, value in named.items() if value is not None}


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    (attribute,) = decode_span(otlp.attributes({"user.id": "a\ud800b"})).attributes
    assert attribute.value.string_value == "a?b"
