"""What an order takes, through the API. The chassis' own tests have the rest: bad JSON, charsets, encodings."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders.models import Order

pytestmark = pytest.mark.django_db
BOOK = {"item": "book", "address": "Main street 1"}

# Body, the fields at fault, and a part of the first one's message.
FIELDS = [
    ({}, {"item", "address"}, "required"),
    (BOOK | {"item": 5}, {"item"}, "Expected a string, got a number."),
    (BOOK | {"item": "  "}, {"item"}, "may not be blank"),
    (BOOK | {"item": "i" * 201}, {"item"}, "no more than 200 characters"),
    (BOOK | {"address": "a" * 501}, {"address"}, "no more than 500 characters"),
    (BOOK | {"item": "a\nb"}, {"item"}, "U+000A"),
    (BOOK | {"address": "a\nb\u202ec"}, {"address"}, "U+202E"),
    (BOOK | {"quantity": "5"}, {"quantity"}, "Expected a whole number, got a string."),
    (BOOK | {"quantity": 0}, {"quantity"}, "greater than or equal to 1"),
    (BOOK | {"quantity": 1_000_001}, {"quantity"}, "less than or equal to 1000000"),
    (BOOK | {"status": "cancelled"}, {"status"}, "Unknown field. Expected one of: item, quantity, address."),
    (BOOK | {"created_by": 8}, {"created_by"}, "Unknown field"),
    (None, {"non_field_errors"}, "Expected an object"),
]


@pytest.mark.parametrize(("body", "fields", "message"), FIELDS, ids=lambda value: repr(value)[:60])
def test_the_problem_names_every_field_at_fault(user, body, fields, message):
    answer = user().post("/api/orders", json.dumps(body))
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed"), answer.content
    assert set(answer.json()["errors"]) == fields
    assert message in next(iter(answer.json()["errors"].values()))[0]
    assert not Order._base_manager.exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=10,
)
FIELD_LIKE = st.dictionaries(st.sampled_from(["item", "address", "quantity", "id"]) | st.text(), JSON)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON | FIELD_LIKE | FIELD_LIKE.map(lambda more: BOOK | more))
def test_no_json_value_is_a_500(user, body):
    before = Order._base_manager.count()
    answer = user().post("/api/orders", json.dumps(body))
    assert answer.status_code in {201, 400}, answer.content
    assert Order._base_manager.count() == before + (answer.status_code == 201)


def test_a_persian_item_and_an_address_of_lines_are_stored_unchanged(user):
    said = {"item": "کتاب\u200cها", "address": "Main street 1\n\nخانه\u200cها\nSpringfield"}
    answer = user().post("/api/orders", said)
    assert answer.status_code == 201, answer.content
    assert {name: answer.json()[name] for name in said} == said
    assert Order._base_manager.filter(**said).exists()


def test_the_gateway_s_own_passport_may_not_place_orders(issuer, user):
    answer = user("gateway", role="service").post("/api/orders", BOOK)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert not Order._base_manager.exists()
