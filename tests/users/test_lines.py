import json

import pytest

from users import lines

pytestmark = pytest.mark.record

FIELDS = {
    "password": "!",
    "username": "eva",
    "email": "eva@example.com",
    "full_name": "Eva Ö.",
    "user_type": "default",
    "is_active": True,
    "created_by": None,
    "created_at": "2026-01-02T03:04:05.678Z",
    "updated_at": "2026-01-02T03:04:05.678Z",
    "session_epoch": 0,
    "kept_session": "",
    "sessions_ended_seq": 0,
}
CHANGE = {
    "user_id": 1,
    "action": "changed",
    "at": "2026-01-02T03:04:05.678Z",
    "by": 1,
    "values": {"full_name": ["", "Eva"], "is_active": [True, False], "password": []},
}
DELETION = {"deleted_at": "2026-01-02T03:04:05.678Z", "deleted_by": 1, "session_epoch": 1, "sessions_ended_seq": 9}


MODELS = [("users.user", FIELDS), ("users.deletion", DELETION), ("users.userchange", CHANGE)]


def line(fields: dict, model: object = "users.user", pk: object = 1) -> bytes:
    return json.dumps({"model": model, "pk": pk, "fields": fields}, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize(("model", "fields"), MODELS)
def test_what_a_line_says_is_written_as_it_was_read(model, fields):
    entry = lines.parse(line(fields, model))
    assert isinstance(entry, lines.MODELS[model])
    assert json.loads(lines.dump(entry)) == {"model": model, "pk": 1, "fields": fields}
    assert lines.dump(entry).endswith(b"}\n")


def test_a_field_that_came_later_has_its_default():
    fields = {name: value for name, value in FIELDS.items() if name != "session_epoch"}
    assert lines.parse(line(fields)).session_epoch == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\n", "expected JSON"),
        (b"nonsense\n", "expected JSON"),
        (b"\xff\n", "expected JSON in UTF-8"),
        (b"[" * 100_000, "expected JSON that is nested less deeply"),
        (b'{"model": 1' + b"0" * 5000 + b"}", "expected JSON of shorter numbers"),
        (b'{"model": "users.user" "pk": 1}', "expected JSON: Expecting .,. delimiter, at character 24"),
        (b"[]\n", "expected an object"),
        (b"{}\n", "expected an object"),
        (b'{"model": "users.user", "pk": 1, "fields": []}', "expected an object"),
        (b'{"model": "users.user", "pk": 1, "pk": 2, "fields": {}}', 'each name once in its object, got "pk" again'),
        (line(FIELDS).replace(b'"is_active"', b'"is_active": false, "is_active"'), 'got "is_active" again'),
        (b'{"model": "users', "expected JSON: Unterminated string starting, at character 11"),
        (line(FIELDS, "users.other"), "as .model."),
        (line(FIELDS, ["users.user"]), "as .model."),
        (line(FIELDS, pk="1"), "as .pk."),
        (line(FIELDS, pk=True), "as .pk."),
        (line(FIELDS, pk=0), "as .pk."),
        (line(FIELDS, pk=2**53), "expected a whole number from 1 to 9007199254740991 as .pk."),
        (line(FIELDS, pk=2**63 - 1), "as .pk."),
        (line(FIELDS, pk=2**63), "as .pk."),
        (line(FIELDS, pk=10**4000), "as .pk."),
        (line(FIELDS, pk=1.0), "as .pk."),
        (line(FIELDS | {"created_by": 2**53}), "created_by: expected a whole number up to 9007199254740991"),
        (line(FIELDS | {"session_epoch": 2**63}), "session_epoch: expected a whole number up to"),
        (line(FIELDS | {"sessions_ended_seq": 2**63 - 1}), "sessions_ended_seq: expected a whole number up to"),
        (line(FIELDS | {"last_login": None}), "unknown field last_login"),
        (line({"password": "!"}), "missing field username, email, created_at, updated_at"),
        (line(FIELDS | {"username": 5}), "username: expected a string"),
        (line(FIELDS | {"username": "a b"}), "username: Expected only ASCII letters"),
        (line(FIELDS | {"username": "x" * 151}), "username: Ensure this value has at most 150"),
        (line(FIELDS | {"username": ""}), "username: "),
        (line(FIELDS | {"email": "nobody"}), "email: Enter a valid email"),
        (line(FIELDS | {"email": "é@example.com"}), "email: "),
        (line(FIELDS | {"full_name": "a\u202eb"}), "full_name: Contains U"),
        (line(FIELDS | {"user_type": "root"}), "user_type: "),
        (line(FIELDS | {"is_active": "true"}), "is_active: expected true or false"),
        (line(FIELDS | {"is_active": None}), "is_active: expected true or false"),
        (line(FIELDS | {"created_by": True}), "created_by: expected a whole number"),
        (line(FIELDS | {"created_by": -1}), "created_by: "),
        (line(FIELDS | {"created_at": "yesterday"}), "created_at: "),
        (line(FIELDS | {"created_at": "2026-01-02T03:04:05"}), "created_at: expected a time with its offset"),
        (line(FIELDS | {"session_epoch": 0.5}), "session_epoch: expected a whole number"),
        (line(FIELDS | {"session_epoch": 2**53}), "session_epoch: expected a whole number up to 9007199254740991"),
        (line(FIELDS | {"session_epoch": 10**40}), "session_epoch: "),
        (line(FIELDS | {"sessions_ended_seq": 10**18}), "sessions_ended_seq: expected a whole number up to"),
        (line(FIELDS | {"created_by": 2**53}), "created_by: expected a whole number up to"),
        (line(FIELDS | {"created_at": "0001-01-01T00:00:00+14:00"}), "created_at: expected a time of the years"),
        (line(FIELDS | {"created_at": "9999-12-31T23:59:59-14:00"}), "created_at: expected a time of the years"),
        (line(FIELDS | {"created_at": "1970-01-01T00:00:00+00:01"}), "created_at: expected a time of the years"),
        (line(FIELDS | {"updated_at": "9999-12-31T23:59:59.999Z"}), "updated_at: expected a time of the years"),
        (line(FIELDS | {"updated_at": "9998-12-31T23:59:59.999-00:01"}), "updated_at: expected a time of the years"),
        (line(DELETION, "users.deletion", pk=2**63 - 1), "as .pk."),
        (line(DELETION | {"deleted_at": "9999-12-31T23:59:59Z"}, "users.deletion"), "deleted_at: expected a time"),
        (line(DELETION | {"sessions_ended_seq": 2**53}, "users.deletion"), "sessions_ended_seq: expected a whole"),
        (line(CHANGE | {"user_id": 2**53}, "users.userchange"), "user_id: expected a whole number up to"),
        (line(CHANGE | {"by": 2**53}, "users.userchange"), "by: expected a whole number up to"),
        (line(CHANGE | {"at": "0001-01-01T00:00:00+14:00"}, "users.userchange"), "at: expected a time of the years"),
        (line(CHANGE | {"action": "x"}, "users.userchange"), "action: "),
        *(
            (line(CHANGE | {"values": values}, "users.userchange"), "values: expected old and new values of username, ")
            for values in (
                {"full_name": 5},
                {"username": ["a"]},
                {"username": ["a", "b", "c"]},
                {"username": [None, "b"]},
                {"is_active": ["a", "b"]},
                {"is_active": [0, 1]},
                {"password": ["hash", "hash2"]},
                {"shoe_size": ["1", "2"]},
            )
        ),
    ],
)
def test_a_line_that_is_no_user_is_refused_without_its_values(text, message):
    with pytest.raises(lines.BadLineError, match=message):
        lines.parse(text)
