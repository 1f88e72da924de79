"""Bad input, through the API: each a problem that names what was expected, none stored, none a 500."""

import codecs
import gzip
import io
import json
import re
import zlib
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework import serializers

from chassis.converters import Id
from chassis.serializers import MAX_NAMED, StrictSerializer
from chassis.validators import printable, printable_lines
from shop.models import Sale

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
    (BOOK | {"item": "\u200cab"}, {"item"}, "U+200C"),
    (BOOK | {"item": "ab\u200d"}, {"item"}, "U+200D"),
    (BOOK | {"item": "a\u200d\u200db"}, {"item"}, "U+200D"),
    (BOOK | {"item": "\u200d"}, {"item"}, "U+200D"),
    (BOOK | {"address": "a\r\nb"}, {"address"}, "U+000D"),
    (BOOK | {"address": "a\u200d\nb"}, {"address"}, "U+200D"),
    (BOOK | {"address": "a\u2028b"}, {"address"}, "U+2028"),
    (BOOK | {"address": "a\nb\u202ec"}, {"address"}, "U+202E"),
    (BOOK | {"item": "a\ud800b"}, {"item"}, ""),
    (BOOK | {"address": "\udfff"}, {"address"}, ""),
    (BOOK | {"quantity": "5"}, {"quantity"}, "Expected a whole number, got a string."),
    (BOOK | {"quantity": True}, {"quantity"}, "Expected a whole number, got a boolean."),
    (BOOK | {"quantity": 1.5}, {"quantity"}, "Expected a whole number, got a number."),
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
    answer = user().post("/sales", json.dumps(body))
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json"), answer.content
    problem = answer.json()
    assert set(problem["errors"]) == fields
    assert message in next(iter(problem["errors"].values()))[0]
    assert all(field in problem["detail"] for field in fields)
    assert not Sale.objects.exists()


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
    answer = user().post("/sales", body)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json"), answer.content
    assert not Sale.objects.exists()


def test_a_body_of_null_is_a_problem_that_names_what_was_expected(user):
    assert user().post("/sales", b"null").json()["errors"] == {"non_field_errors": ["Expected an object."]}


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ";;;", "json"],
)
def test_another_content_type_is_415(user, content_type):
    answer = user().post("/sales", json.dumps(BOOK), content_type=content_type)
    assert (answer.status_code, answer["Content-Type"]) == (415, "application/problem+json"), answer.content
    assert not Sale.objects.exists()


# A body, and what is said of it.
NO_JSON = [
    (b'{"item": "a";}', "Invalid JSON at line 1, column 13."),
    (b'{\n  "item": book\n}', "Invalid JSON at line 2, column 11."),
    (b"{'item': 1}", "Invalid JSON at line 1, column 2."),
    (b'{"item": "a\nb"}', "Invalid JSON at line 1, column 12."),
    (b'{"item": "\\x"}', "Invalid JSON at line 1, column 11."),
    (b"{}{}", "Invalid JSON at line 1, column 3."),
    (b'{"item": ', "Incomplete JSON: it ends at line 1, column 10."),
    (b"\n ", "Incomplete JSON: it ends at line 2, column 2."),
    (b'{"item": "\xff"}', "The body is not UTF-8: byte 11. Send JSON in UTF-8."),
    (json.dumps(BOOK).encode("utf-16"), "The body is not UTF-8: byte 1. Send JSON in UTF-8."),
    (codecs.BOM_UTF8 + b"{}", "The JSON begins with a byte order mark. Send it without one."),
    (b"[" * 100_000, "The JSON is nested too deeply. Send fewer levels."),
    (b'{"quantity": ' + b"9" * 5_000 + b"}", "A number in the JSON is too long. Send fewer digits."),
    (b'{"quantity": NaN}', "Invalid JSON: it has no NaN."),
    (b'{"quantity": -Infinity}', "Invalid JSON: it has no -Infinity."),
]


@pytest.mark.parametrize(("body", "detail"), NO_JSON, ids=lambda value: str(value)[:30])
def test_what_is_no_json_is_named_with_its_place(user, body, detail):
    answer = user().post("/sales", body)
    assert (answer.status_code, answer.json()["detail"]) == (400, detail)


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b'{"item": "a", "item": "b", "address": "x"}', {"item": 2}),
        (b'{"item": "a", "\\u0069tem": "a", "address": "x", "item": "a"}', {"item": 3}),
        (b'{"a": 1, "a": 1, "b": 1, "b": 2, "item": "a", "address": "x"}', {"a": 2, "b": 2}),
        (b'{"item": {"deep": [{"c": 1, "c": 1}]}, "address": "x"}', {"c": 2}),
        (b'{"\\u202e": 1, "\\u202e": 2}', {"\N{REPLACEMENT CHARACTER}": 2}),
    ],
)
def test_a_name_that_an_object_has_twice_is_400(user, body, errors):
    answer = user().post("/sales", body)
    assert answer.status_code == 400, answer.content
    assert answer.json()["errors"] == {
        name: [f"Expected this name once, got it {count} times."] for name, count in errors.items()
    }
    assert not Sale.objects.exists()


def test_the_same_name_in_different_objects_is_no_fault_of_theirs(user):
    answer = user().post("/sales", b'{"item": {"a": {"a": 1}}, "address": [{"a": 1}, {"a": 1}]}')
    assert set(answer.json()["errors"]) == {"item", "address"}


def test_the_response_to_many_duplicate_names_is_short(user):
    answer = user().post("/sales", "{" + ",".join(f'"f{number}": 0' for number in [*range(30_000)] * 2) + "}")
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == MAX_NAMED
    assert len(answer.content) < 4000


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8"])
def test_json_may_say_that_it_is_utf_8(user, charset):
    answer = user().post("/sales", json.dumps(BOOK), content_type=f"application/json; charset={charset}")
    assert answer.status_code == 201, answer.content


@pytest.mark.parametrize("charset", ["utf-7", "zlib", "hex", "rot13", "idna", "unknown", "utf-16", "latin-1", '"utf-8'])
def test_json_in_another_charset_is_415(user, charset):
    answer = user().post("/sales", json.dumps(BOOK), content_type=f"application/json; charset={charset}")
    assert (answer.status_code, answer["Content-Type"]) == (415, "application/problem+json"), answer.content
    assert answer.json()["detail"] == f"Unsupported charset {charset}. Send JSON in UTF-8."
    assert not Sale.objects.exists()


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "identity, gzip", "x\ty"])
def test_a_body_that_is_encoded_is_415(user, coding):
    for body in (gzip.compress(json.dumps(BOOK).encode()), json.dumps(BOOK)):
        answer = user().post("/sales", body, HTTP_CONTENT_ENCODING=coding)
        assert (answer.status_code, answer["Accept-Encoding"]) == (415, "identity"), answer.content
        assert answer.json()["detail"].startswith("Unsupported Content-Encoding")
    assert not Sale.objects.exists()


@pytest.mark.parametrize("coding", ["", "identity"])
def test_a_coding_that_is_none_changes_nothing(user, coding):
    assert user().post("/sales", json.dumps(BOOK), HTTP_CONTENT_ENCODING=coding).status_code == 201


def wsgi(method: str, content_type: str, body: bytes = b"", **environ: str) -> tuple[str, bytes]:
    """Return the status and body of an answer of the application as gunicorn calls it."""
    from shop.wsgi import application

    length = str(len(body))
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": "/sales", "CONTENT_TYPE": content_type}
    environ |= {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(body)}
    setup_testing_defaults(environ)
    answered = []
    content = b"".join(application(environ, lambda status, headers: answered.append(status)))
    return answered[0], content


@pytest.mark.parametrize("body", [b"", json.dumps(BOOK).encode()])
@pytest.mark.parametrize("parameter", ["x*=unknown''y", "charset*=unknown'en'utf-8", "x*=undefined''y", "x*0*=a'b'c"])
def test_a_content_type_that_cannot_be_read_is_415(parameter, body):
    status, content = wsgi("POST", f"application/json; {parameter}", body)
    assert status == "415 Unsupported Media Type"
    assert json.loads(content)["detail"].startswith("Invalid Content-Type")


@pytest.mark.parametrize("charset", ["rot13", "zlib", "utf-7", "unknown"])
def test_a_charset_does_not_keep_the_query_from_being_read(charset):
    status, _ = wsgi("GET", f"application/json; charset={charset}", QUERY_STRING="limit=1")
    assert status == "401 Unauthorized"


def test_a_charset_decompresses_nothing(user):
    bomb = zlib.compress(b'{"item": "' + b"a" * 50_000_000)
    answer = user().post("/sales", bomb, content_type="application/json; charset=zlib")
    assert answer.status_code == 415
    assert len(answer.content) < 1000


def test_the_response_to_many_unknown_fields_is_short(user):
    answer = user().post("/sales", {f"f{number}": 0 for number in range(50_000)})
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == MAX_NAMED
    assert len(answer.content) < 4000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=10,
)
FIELD_LIKE = st.dictionaries(st.sampled_from(["item", "address", "quantity", "id"]) | st.text(), JSON)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON | FIELD_LIKE | FIELD_LIKE.map(lambda more: BOOK | more))
def test_no_json_at_all_is_a_500_and_what_is_accepted_is_stored(user, body):
    before = Sale.objects.count()
    answer = user().post("/sales", json.dumps(body))
    assert answer.status_code in {201, 400}, answer.content
    assert Sale.objects.count() == before + (answer.status_code == 201)
    if answer.status_code == 201:
        assert answer.json().items() >= {name: value for name, value in body.items() if name == "quantity"}.items()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_no_bytes_at_all_are_a_500(user, body):
    answer = user().post("/sales", body)
    assert answer.status_code == 400, answer.content
    assert not Sale.objects.exists()


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
def test_each_json_type_is_that_of_its_field(data, errors):
    serializer = Everything(data=data)
    assert serializer.is_valid() is not bool(errors)
    assert serializer.errors == errors


@pytest.mark.parametrize(
    "text", ["", "a b", "é", "本", "📚", "a\u00a0b", "می\u200cخواهم", "👩\u200d🚀", "👨\u200d👩\u200d👧"]
)
def test_what_can_be_seen_is_printable(text):
    printable(text)


def test_an_id_is_written_as_it_is_read():
    assert Id().to_url(Id().to_python("17")) == "17"


def test_a_persian_item_and_an_address_of_lines_are_kept_as_they_came(user):
    said = {"item": "کتاب\u200cها", "address": "Main street 1\n\nخانه\u200cها\nSpringfield"}
    answer = user().post("/sales", said)
    assert answer.status_code == 201, answer.content
    assert {name: answer.json()[name] for name in said} == said
    assert Sale.objects.filter(**said).exists()


@pytest.mark.parametrize("validator", [printable, printable_lines])
def test_the_pattern_of_a_validator_allows_what_the_validator_allows(validator):
    def allows(text):
        try:
            validator(text)
        except ValidationError:
            return False
        return True

    texts = [f"a{chr(point)}b" for point in range(0x10000) if not 0xD800 <= point <= 0xDFFF]
    texts += ["", "a", "a\nb", "a\u200db\u200cc", "\u200da", "a\u200d", "a\u200d\u200db", "a\n\u200db", "\u200d"]
    assert [text for text in texts if bool(re.search(validator.pattern, text)) != allows(text)] == []


def test_the_openapi_document_describes_what_strict_input_rejects():
    document = Client().get("/openapi.json").json()
    body = document["components"]["schemas"]["SaleInRequest"]
    assert body["additionalProperties"] is False
    assert body["properties"]["item"]["pattern"] == printable.pattern
