import json

import pytest

from users import lines
from users.models import Deletion, User

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
DELETION = {"deleted_at": "2026-01-02T03:04:05.678Z", "deleted_by": 1, "session_epoch": 1, "sessions_ended_seq": 9}


def line(fields: dict, model: object = "users.user", pk: object = 1) -> bytes:
    return json.dumps({"model": model, "pk": pk, "fields": fields}, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize(("model", "fields"), [("users.user", FIELDS), ("users.deletion", DELETION)])
def test_what_a_line_says_is_written_as_it_was_read(model, fields):
    entry = lines.parse(line(fields, model))
    assert isinstance(entry, {"users.user": User, "users.deletion": Deletion}[model])
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
        (b"\xff\n", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[]\n", "expected an object"),
        (b"{}\n", "expected an object"),
        (b'{"model": "users.user", "pk": 1, "fields": []}', "expected an object"),
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
        (line(FIELDS | {"full_name": "a\u202eb"}), "full_name: Expected printable"),
        (line(FIELDS | {"user_type": "root"}), "user_type: "),
        (line(FIELDS | {"is_active": "true"}), "is_active: expected true or false"),
        (line(FIELDS | {"is_active": None}), "is_active: expected true or false"),
        (line(FIELDS | {"created_by": True}), "created_by: expected a whole number"),
        (line(FIELDS | {"created_by": -1}), "created_by: "),
        (line(FIELDS | {"created_at": "yesterday"}), "created_at: "),
        (line(FIELDS | {"created_at": "2026-01-02T03:04:05"}), "created_at: expected a time with its offset"),
        (line(FIELDS | {"session_epoch": 0.5}), "session_epoch: expected a whole number"),
    ],
)
def test_a_line_that_is_no_user_is_refused_without_its_values(text, message):
    with pytest.raises(lines.BadLineError, match=message):
        lines.parse(text)
