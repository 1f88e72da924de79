"""One trace through all three projects, exported to a real OTLP/HTTP receiver."""

from pathlib import Path

from tests.otlp import CLIENT, SERVER, Receiver
from tests.system.stack import Stack, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
LOGIN = "1bf7651916cd43dd8448eb211c80319d"
PARENT = "b7ad6b7169203331"


def test_a_request_is_one_trace_in_the_gateway_and_the_services(tmp_path: Path) -> None:
    with Receiver() as receiver:
        stack = Stack(tmp_path / "var", {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"})
        try:
            stack.up()
            signed_in = stack.ask(
                "POST", "/api/login", {"username": "user", "password": "u"}, traceparent=f"00-{LOGIN}-{PARENT}-01"
            )
            token = signed_in.json["access_token"]
            placed = stack.ask(
                "POST", "/api/orders", {"item": "book", "address": "Main street 1"}, token=token,
                traceparent=f"00-{TRACE}-{PARENT}-01",
            )  # fmt: skip
            assert placed.status == 201
            spans = receiver.wait_for(3, lambda span: span.trace_id == TRACE)
            login = receiver.wait_for(3, lambda span: span.trace_id == LOGIN)
            by = {(span.service, span.kind): span for span in spans}
            request, sent, served = by["gateway", SERVER], by["gateway", CLIENT], by["orders", SERVER]
            assert (request.parent_id, sent.parent_id, served.parent_id) == (PARENT, request.span_id, sent.span_id)
            assert (request.name, served.name) == ("POST /api/orders", "POST /api/orders")
            assert (request.attributes["user.id"], served.attributes["http.response.status_code"]) == ("2", 201)
            # The gateway's own request for a sign-in is within the client's.
            assert {(span.service, span.kind) for span in login} == {
                ("gateway", SERVER), ("gateway", CLIENT), ("users", SERVER)
            }  # fmt: skip
            for name, trace in ("gateway", TRACE), ("orders", TRACE), ("gateway", LOGIN), ("users", LOGIN):
                until(lambda: any(line["trace_id"] == trace for line in stack.logs(name)), 10, "the log line")  # noqa: B023
            # Polled paths have none.
            polled = {"/healthz", "/readyz", "/internal/session-ends"}
            assert not polled & {span.attributes.get("url.path") for span in receiver.spans}
        finally:
            stack.down()
