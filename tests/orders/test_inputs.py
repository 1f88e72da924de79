"""Bad input, through the API: each a problem that says what was expected, none stored, none a 500."""

import codecs
import json
import zlib
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework import serializers

from orders.inputs import MAX_NAMED, StrictSerializer, printable
from orders.models import Order

pytestmark = pytest.mark.django_db
BOOK = {"item": "book", "address": "Main street 1"}


def without_address(**values) -> dict:
    return {"item": "book"} | values


# Body, the fields at fault, and what the first one's message says.
FIELDS = [
    ({}, {"item", "address"}, "required"),
    (without_address(), {"address"}, "required"),
    (BOOK | {"item": 5}, {"item"}, "Expected a string, got a number."),
    (BOOK | {"item": 1.5}, {"item"}, "Expected a string, got a number."),
    (BOOK | {"item": True}, {"item"}, "Expected a string, got a boolean."),
    (BOOK | {"item": []}, {"item"}, "Expected a string, got an array."),
    (BOOK | {"item": {}}, {"item"}, "Expected a string, got an object."),
    (BOOK | {"item": None}, {"item"}, "may not be null"),
    (BOOK | {"item": ""}, {"item"}, "may not be blank"),
    (BOOK | {"item": "  "}, {"item"}, "may not be blank"),
    (BOOK | {"item": "i" * 201}, {"item"}, "no more than 200 characters"),
    (BOOK | {"address": "a" * 501}, {"address"}, "no more than 500 characters"),
    (BOOK | {"item": "a\nb"}, {"item"}, "U+000A"),
    (BOOK | {"item": "a\x00b"}, {"item"}, ""),
    (BOOK | {"item": "a\x1b[2Jb"}, {"item"}, "U+001B"),
    (BOOK | {"item": "a\x85b"}, {"item"}, "U+0085"),
    (BOOK | {"item": "a\u202eb"}, {"item"}, "U+202E"),
    (BOOK | {"item": "a\u200bb"}, {"item"}, "U+200B"),
    (BOOK | {"item": "a\u2028b"}, {"item"}, "U+2028"),
    (BOOK | {"item": "a\ud800b"}, {"item"}, ""),
    (BOOK | {"address": "\udfff"}, {"address"}, ""),
    (BOOK | {"quantity": "5"}, {"quantity"}, "Expected a whole number, got a string."),
    (BOOK | {"quantity": True}, {"quantity"}, "Expected a whole number, got a boolean."),
    (BOOK | {"quantity": 1.0}, {"quantity"}, "Expected a whole number, got a number."),
    (BOOK | {"quantity": None}, {"quantity"}, "may not be null"),
    (BOOK | {"quantity": [1]}, {"quantity"}, "Expected a whole number, got an array."),
    (BOOK | {"quantity": 0}, {"quantity"}, "greater than or equal to 1"),
    (BOOK | {"quantity": -1}, {"quantity"}, "greater than or equal to 1"),
    (BOOK | {"quantity": 1_000_001}, {"quantity"}, "less than or equal to 1000000"),
    (BOOK | {"quantity": 10**4000}, {"quantity"}, "less than or equal to 1000000"),
    (BOOK | {"status": "cancelled"}, {"status"}, "Unknown field. Expected one of: item, quantity, address."),
    (BOOK | {"created_by": 8}, {"created_by"}, "Unknown field"),
    (BOOK | {"id": 1, "item": 2}, {"id", "item"}, ""),
    (BOOK | {"": 1}, {"non_field_errors"}, "Unknown field"),
    (BOOK | {"\ud800": 1}, {"\ufffd"}, "Unknown field"),
    (BOOK | {"a\nb": 1}, {"a\ufffdb"}, "Unknown field"),
    (BOOK | {"x" * 100_000: 1}, {"x" * 50}, "Unknown field"),
    ([], {"non_field_errors"}, "Expected a dictionary"),
    ([BOOK], {"non_field_errors"}, "Expected a dictionary"),
    ("book", {"non_field_errors"}, "Expected a dictionary"),
]


@pytest.mark.parametrize(("body", "fields", "message"), FIELDS, ids=lambda value: repr(value)[:60])
def test_the_problem_names_every_field_at_fault_and_what_was_expected(user, body, fields, message):
    answer = user().post("/api/orders", json.dumps(body))
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json"), answer.content
    problem = answer.json()
    assert set(problem["errors"]) == fields
    assert message in next(iter(problem["errors"].values()))[0]
    assert all(field in problem["detail"] for field in fields)
    assert not Order._base_manager.exists()


RAW = {
    "nothing": b"",
    "half an object": b'{"item": "book"',
    "no JSON": b"item=book",
    "two values": b"{}{}",
    "null": b"null",
    "a number": b"5",
    "true": b"true",
    "NaN": b'{"item": "book", "address": "a", "quantity": NaN}',
    "infinity": b'{"item": "book", "address": "a", "quantity": -Infinity}',
    "a number past every float": b'{"item": "book", "address": "a", "quantity": 1e400}',
    "an integer of 10,000 digits": b'{"item": "book", "address": "a", "quantity": ' + b"9" * 10_000 + b"}",
    "not UTF-8": b'{"item": "b\xfc\xff", "address": "a"}',
    "UTF-16": json.dumps(BOOK).encode("utf-16"),
    "a byte order mark": codecs.BOM_UTF8 + json.dumps(BOOK).encode(),
    "arrays nested deeply": b"[" * 500_000,
    "closed arrays nested deeply": b"[" * 250_000 + b"]" * 250_000,
    "objects nested deeply": b'{"a":' * 100_000,
    "a field nested deeply": b'{"address": "a", "item": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a control character in a string": b'{"item": "a\x00b", "address": "a"}',
}


@pytest.mark.parametrize("body", RAW.values(), ids=RAW.keys())
def test_a_body_that_is_no_json_object_is_400(user, body):
    answer = user().post("/api/orders", body)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json"), answer.content
    assert not Order._base_manager.exists()


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ";;;", "json"],
)
def test_another_content_type_is_415(user, content_type):
    answer = user().post("/api/orders", json.dumps(BOOK), content_type=content_type)
    assert (answer.status_code, answer["Content-Type"]) == (415, "application/problem+json"), answer.content
    assert not Order._base_manager.exists()


@pytest.mark.parametrize("charset", ["utf-7", "zlib", "hex", "rot13", "idna", "unknown", "utf-16"])
def test_a_body_is_utf_8_whatever_charset_it_says(user, charset):
    answer = user().post("/api/orders", json.dumps(BOOK), content_type=f"application/json; charset={charset}")
    assert answer.status_code == 201, answer.content


@pytest.mark.parametrize("charset", ["rot13", "zlib", "utf-7", "unknown"])
def test_a_charset_does_not_keep_the_query_from_being_read(charset):
    from orders_project.wsgi import application

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/orders",
        "QUERY_STRING": "limit=1",
        "CONTENT_TYPE": f"application/json; charset={charset}",
    }
    setup_testing_defaults(environ)
    answered = []
    list(application(environ, lambda status, headers: answered.append(status)))
    assert answered == ["401 Unauthorized"]


def test_a_charset_decompresses_nothing(user):
    bomb = zlib.compress(b'{"item": "' + b"a" * 50_000_000)
    answer = user().post("/api/orders", bomb, content_type="application/json; charset=zlib")
    assert answer.status_code == 400
    assert len(answer.content) < 1000


def test_the_answer_to_many_unknown_fields_is_short(user):
    answer = user().post("/api/orders", {f"f{number}": 0 for number in range(50_000)})
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == MAX_NAMED
    assert len(answer.content) < 4000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=10,
)
FIELD_LIKE = st.dictionaries(st.sampled_from(["item", "address", "quantity", "id"]) | st.text(), JSON)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON | FIELD_LIKE | FIELD_LIKE.map(lambda more: BOOK | more))
def test_no_json_at_all_is_a_500_and_what_is_accepted_is_stored_as_said(user, body):
    before = Order._base_manager.count()
    answer = user().post("/api/orders", json.dumps(body))
    assert answer.status_code in {201, 400}, answer.content
    assert Order._base_manager.count() == before + (answer.status_code == 201)
    if answer.status_code == 201:
        assert answer.json().items() >= {name: value for name, value in body.items() if name == "quantity"}.items()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_no_bytes_at_all_are_a_500(user, body):
    answer = user().post("/api/orders", body)
    assert answer.status_code == 400, answer.content
    assert not Order._base_manager.exists()


class Everything(StrictSerializer):
    flag = serializers.BooleanField(default=False)
    kind = serializers.ChoiceField(["a", "b"], default="a")
    when = serializers.DateTimeField(required=False)
    made = serializers.CharField(read_only=True)


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        ({"flag": True, "kind": "b", "when": "2026-01-01T00:00:00Z", "made": 5}, {}),
        ({"flag": "true"}, {"flag": ["Expected true or false, got a string."]}),
        ({"flag": 1}, {"flag": ["Expected true or false, got a number."]}),
        ({"kind": 1}, {"kind": ["Expected a string, got a number."]}),
        ({"other": 1}, {"other": ["Unknown field. Expected one of: flag, kind, when."]}),
    ],
)
def test_each_json_type_is_what_its_field_says(data, errors):
    serializer = Everything(data=data)
    assert serializer.is_valid() is not bool(errors)
    assert serializer.errors == errors


@pytest.mark.parametrize("text", ["", "a b", "é", "本", "📚", "a\u00a0b"])
def test_what_can_be_seen_is_printable(text):
    printable(text)
