"""The OpenAPI document describes what the service takes and sends."""

import re

import pytest
from django.test import Client
from tests.orders.test_idempotency import BAD_KEYS, GOOD_KEYS

PLACE = ("/api/orders", "post")
CANCEL = ("/api/orders/{order_id}/cancel", "post")
OPERATIONS = {
    ("/api/orders", "get"): ({"400", "412", "503"}, {"If-Match", "If-None-Match"}),
    PLACE: ({"400", "413", "415", "422", "503", "507"}, {"Idempotency-Key"}),
    ("/api/orders/{order_id}", "get"): ({"400", "404", "412", "503"}, {"If-Match", "If-None-Match"}),
    CANCEL: ({"400", "404", "409", "412", "503", "507"}, {"If-Match"}),
}


@pytest.fixture(scope="module")
def document():
    return Client().get("/openapi.json").json()


def test_every_operation_is_looked_at(document):
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == set(OPERATIONS)


@pytest.mark.parametrize("path_and_method", OPERATIONS)
def test_an_operation_s_problems_and_headers_are_there(document, path_and_method):
    path, method = path_and_method
    responses = document["paths"][path][method]["responses"]
    problems, asked = OPERATIONS[path_and_method]
    assert {status for status in responses if status[0] in "45"} == problems | {"401", "403"}
    assert responses["default"] == {"$ref": "#/components/responses/Problem"}
    parameters = document["paths"][path][method].get("parameters", [])
    assert {parameter["name"] for parameter in parameters if parameter["in"] == "header"} == asked
    for status, answer in responses.items():
        if status[0] in "23":
            expected = {"ETag"} | ({"Location"} if status == "201" else set())
            assert set(answer.get("headers", {})) == expected, status
        else:
            assert answer["$ref"].startswith("#/components/responses/")


def test_a_response_that_asks_to_wait_has_retry_after(document):
    responses = document["components"]["responses"]
    waiting = {name for name, response in responses.items() if "Retry-After" in response.get("headers", {})}
    assert waiting == {"Conflict", "TooManyRequests", "ServiceUnavailable", "InsufficientStorage"}


def test_a_page_s_links_are_there_and_have_no_examples_of_another_api(document):
    page = document["components"]["schemas"]["PaginatedOrderOutList"]
    assert set(page["required"]) == set(page["properties"]) == {"next", "previous", "results"}
    assert "example" not in page["properties"]["next"]


def test_unknown_fields_are_rejected(document):
    assert document["components"]["schemas"]["OrderInRequest"]["additionalProperties"] is False
    assert "additionalProperties" not in document["components"]["schemas"]["OrderOut"]


@pytest.mark.parametrize(("keys", "is_good"), [(GOOD_KEYS, True), (BAD_KEYS, False)])
def test_the_pattern_of_a_key_is_what_the_service_accepts(document, keys, is_good):
    (header,) = (each for each in document["paths"]["/api/orders"]["post"]["parameters"] if each["in"] == "header")
    assert {bool(re.search(header["schema"]["pattern"], key)) for key in keys} == {is_good}
