"""Lines of the record."""

import json
from datetime import UTC, datetime

import pytest

from users.models import Deletion, User
from users.store.codec import BadLineError, UserLine, decode, encode

TIME = "2026-01-31T12:00:00.123Z"
USER = {
    "id": 7,
    "username": "eva",
    "email": "eva@example.com",
    "full_name": "Eva Ö.",
    "user_type": "admin",
    "is_active": False,
    "password": "!",
    "created_by": 1,
    "created_at": TIME,
    "updated_by": 2,
    "updated_at": TIME,
    "password_changed_at": TIME,
    "session_epoch": 3,
    "kept_session": "s-1",
    "session_end": 4,
}
DELETION = {"id": 7, "updated_by": 2, "updated_at": TIME, "session_epoch": 3, "session_end": 4, "deleted": True}
NEEDED = {name: USER[name] for name in ("id", "username", "email", "password", "created_at", "updated_at")}


def test_a_line_has_the_fields_of_its_model_of_the_same_lengths():
    described = UserLine.model_json_schema()["properties"]
    fields = {field.name: field for field in User._meta.concrete_fields}
    assert described.keys() == {*fields, "rehash"}
    for name in ("username", "email", "full_name", "password", "kept_session"):
        assert described[name]["maxLength"] == fields[name].max_length


@pytest.mark.parametrize("line", [USER, DELETION, USER | {"rehash": True}])
def test_a_line_is_written_as_it_was_read(line):
    entry = decode(json.dumps(line).encode())
    assert encode(entry) == json.dumps(line, ensure_ascii=False).encode() + b"\n"


def test_a_line_by_hand_needs_no_more_than_the_user(state):
    entry = decode(json.dumps(NEEDED).encode())
    assert isinstance(entry, User)
    assert (entry.user_type, entry.is_active, entry.session_epoch, entry.is_rehash) == ("default", True, 0, False)
    assert entry.created_at == datetime(2026, 1, 31, 12, 0, 0, 123000, tzinfo=UTC)
    assert isinstance(decode(json.dumps({"id": 7, "deleted": True, "updated_at": TIME}).encode()), Deletion)


def test_a_line_can_be_written_and_read_without_its_hash(state):
    entry = decode(json.dumps(USER | {"password": "argon2$secret"}).encode())
    line = encode(entry, with_password=False)
    assert b"secret" not in line
    assert decode(line, has_password=False).username == "eva"
    assert isinstance(decode(json.dumps(DELETION).encode(), has_password=False), Deletion)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "a JSON object"), ("[" * 100_000, "a JSON object"), ("[1]", "a JSON object"),
        (b"\xff", "in UTF-8"),
        (USER | {"shoe_size": 5}, "shoe_size: Extra inputs are not permitted"),
        ({"id": 7}, "username: Field required; email: Field required; password: Field required; created_at: "),
        (USER | {"id": 0}, "id: Input should be greater"), (USER | {"id": 10**18}, "id: Input should be less than"),
        (USER | {"id": True}, "id: Input should be a valid integer"), (USER | {"id": "7"}, "id: Input should be"),
        (USER | {"username": "a b"}, "username: Use only ASCII letters"), (USER | {"username": None}, "username: "),
        (USER | {"email": "eva"}, "email: Enter a valid"), (USER | {"password": ""}, "password: String should have"),
        (USER | {"full_name": "a\u202eb"}, "Contains U+202E"),
        (USER | {"user_type": "root"}, "user_type: Input should be"), (USER | {"is_active": 1}, "boolean"),
        (USER | {"created_at": "2026-01-31T12:00:00"}, "created_at: expected a time in ISO 8601 with its offset"),
        (USER | {"created_at": 5}, "created_at: expected a time"), (USER | {"created_at": "yesterday"}, "created_at: "),
        (USER | {"session_epoch": -1}, "session_epoch: "), (USER | {"session_epoch": 2**70}, "session_epoch: "),
        ({"id": 7, "updated_at": TIME, "deleted": 1}, "deleted: Input"), (DELETION | {"username": "eva"}, "username: "),
    ],
)  # fmt: skip
def test_a_line_that_is_no_user_is_rejected_without_its_values(state, text, reason):
    line = text if isinstance(text, bytes) else (text if isinstance(text, str) else json.dumps(text)).encode()
    with pytest.raises(BadLineError) as raised:
        decode(line)
    assert reason in str(raised.value)
    assert "eva@example.com" not in str(raised.value)
