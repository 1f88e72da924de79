"""Fetching the services' OpenAPI documents: what is kept, what is waited for, and what is logged."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.gateway.openapi.services import answering, document
from tests.gateway.runtimes import runtime
from tests.gateway.service import Reply, Seen, Service
from tests.waiting import DEADLINE, wait_until

from gateway.openapi.documents import Documents

pytestmark = pytest.mark.django_db


def merged(documents: Documents) -> dict[str, Any]:
    """Return the merged document, as the next request receives it."""
    runtime().upstreams.run(documents.shared.get())
    found: dict[str, Any] = json.loads(documents.merged)
    return found


def operation_id(document: dict[str, Any]) -> str | None:
    """Return the id of an operation that only the service's own document has."""
    found: str | None = document["paths"]["/api/things"]["get"].get("operationId")
    return found


def test_a_service_that_is_down_keeps_its_last_document(things: Service) -> None:
    documents = Documents(runtime().config, runtime().upstreams, shared=0, fresh=0)
    first = merged(documents)
    assert operation_id(first) == "list"
    asked = len(things.seen)
    things.answer = lambda seen: None
    assert merged(documents) == first
    assert len(things.seen) > asked


def test_a_document_that_arrives_too_late_for_one_request_is_there_for_the_next(things: Service) -> None:
    documents = Documents(runtime().config, runtime().upstreams, limit=0.1, shared=0)
    asked, go_on = threading.Event(), threading.Event()
    answer = things.answer

    def slow(seen: Seen) -> Reply | None:
        asked.set()
        assert go_on.wait(DEADLINE)
        return answer(seen)

    things.answer = slow
    try:
        early = merged(documents)
        assert operation_id(early) is None
        assert early["info"]["x-incomplete"] == {"things": "it has not responded yet"}
        assert asked.wait(DEADLINE)
        # The service is neither asked again nor waited for.
        documents.limit = DEADLINE
        assert operation_id(merged(documents)) is None
        assert len(things.seen) == 1
    finally:
        go_on.set()
    wait_until(lambda: operation_id(merged(documents)) == "list", "the document")
    assert "x-incomplete" not in merged(documents)["info"]


def test_a_changed_document_is_merged_once_the_last_one_is_no_longer_fresh(things: Service) -> None:
    documents = Documents(runtime().config, runtime().upstreams, shared=0, fresh=1)
    assert operation_id(merged(documents)) == "list"
    things.answer = answering(json.dumps(document()).replace('"list"', '"all"').encode())
    wait_until(lambda: operation_id(merged(documents)) == "all", "the changed document")
    assert len(things.seen) == 2


def test_a_fault_of_a_document_is_logged_once(things: Service, caplog: pytest.LogCaptureFixture) -> None:
    documents = Documents(runtime().config, runtime().upstreams, shared=0)
    things.answer = lambda seen: Reply(500)
    for _ in range(3):
        merged(documents)
    assert len(things.seen) == 3
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert (
        line == "The OpenAPI document of the things service cannot be used: /openapi.json responded with 500, not 200"
    )


@pytest.mark.parametrize(
    "answer",
    [Reply(500), Reply(200, b"{no json"), Reply(200, b"[]"), Reply(200, b'{"a": NaN}'), Reply(200, b"[" * 100_000)],
)
def test_a_service_without_a_usable_document_leaves_the_others_documented(
    things: Service, client: Client, answer: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    things.answer = lambda seen: answer
    merged = client.get("/openapi.json")
    assert merged.status_code == 200
    assert "/api/login" in merged.json()["paths"]
    assert "operationId" not in merged.json()["paths"]["/api/things"]["get"]
    assert "things" in caplog.text
    description = "Not complete. The OpenAPI documents of these have faults: things."
    assert merged.json()["info"]["description"] == description
    assert set(merged.json()["info"]["x-incomplete"]) == {"things"}


def test_the_description_lists_silent_services_and_faulty_documents_apart(
    serve: Callable[..., Service], client: Client, configure: Callable[..., None]
) -> None:
    faulty = serve(lambda seen: Reply(200, b"[]"))
    configure(
        services={
            "faulty": {"url": faulty.url, "openapi": "/openapi.json"},
            "stopped": {"url": "http://127.0.0.1:1", "openapi": "/openapi.json"},
        },
        routes=[],
    )
    info = client.get("/openapi.json").json()["info"]
    assert info["description"] == (
        "Not complete. These services do not respond: stopped. The OpenAPI documents of these have faults: faulty."
    )
    assert set(info["x-incomplete"]) == {"faulty", "stopped"}


def test_a_fresh_document_is_not_fetched_again(things: Service, client: Client) -> None:
    for _ in range(3):
        client.get("/openapi.json")
    assert len(things.seen) == 1


def test_a_malformed_part_of_a_document_is_logged_and_named_in_the_response(
    things: Service, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    things.answer = answering(json.dumps(document() | {"paths": None}).encode())
    reply = client.get("/openapi.json")
    assert reply.status_code == 200
    assert reply.json()["info"]["x-incomplete"] == {"things": "paths: expected an object"}
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert (
        line == "What is malformed in the OpenAPI document of the things service is left out: paths: expected an object"
    )
