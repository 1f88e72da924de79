"""The record read again: lines by hand, damage, edits in place and restored copies."""

import json
import os
import re
import subprocess
from datetime import UTC, datetime

import pytest
from django.db import connection

from users import selectors, services, store
from users.models import User
from users.store import index
from users.store.record import StoreError

from .conftest import PASSWORD, PROJECT, stored
from .journals import append, generation, names, reopened
from .test_api import assert_problem

pytestmark = pytest.mark.record


def test_a_line_appended_by_hand_is_applied_as_a_change_by_the_api(make, admin, record):
    user = make("eva")
    before, line = generation(), stored(record)[-1]
    for name in ("session_epoch", "session_end", "kept_session", "password_changed_at", "updated_by"):
        del line[name]
    append(record, line | {"is_active": False})
    append(record, {"id": 9, "deleted": True, "updated_at": line["updated_at"]})
    store.current().catch_up()
    assert (User.objects.get(pk=user.pk).is_active, User.objects.get(pk=user.pk).session_epoch) == (False, 1)
    assert [entry.pk for entry in selectors.session_ends().ends] == [user.pk]
    assert generation() == before
    assert make("ada").pk == 10
    connection.close()
    index.path().unlink()
    reopened()
    assert User.objects.get(pk=user.pk).session_epoch == 1
    assert generation() == before


def test_the_example_of_the_documentation_deactivates_that_user(make, admin, record, state):
    eva, ada = make("eva"), make("ada")
    example = re.search(r"```\n(grep .*?)\n```", (PROJECT.parent / "docs" / "operations.md").read_text(), re.DOTALL)[1]
    (state.parent / "var").symlink_to(state.parent)
    started = datetime.now(UTC).replace(microsecond=0)
    subprocess.run(["bash", "-ec", example], cwd=state.parent, check=True)
    store.current().catch_up()
    assert list(User.objects.filter(is_active=True).values_list("pk", flat=True)) == [ada.pk, admin.pk]
    change = selectors.user_history(user_id=eva.pk)[0]
    assert change.changes == [{"field": "is_active", "old": True, "new": False}]
    assert (change.by, change.at >= started) == (1, True)


def test_an_incomplete_line_is_ignored_and_the_next_writer_truncates_it(make, record, caplog):
    make("eva")
    line = json.dumps(stored(record)[0] | {"id": 2, "username": "ada", "email": "ada@example.com"})
    for half in (line[:20], line):
        with record.open("a") as file:
            file.write(half)
        before = names()
        assert "ada" not in before.values()
        assert half in record.read_text()
        make(f"user{len(before)}")
        assert "the last line was incomplete" in caplog.text
    assert sorted(names().values()) == ["eva", "user1", "user2"]
    assert len(stored(record)) == 3


def test_a_whole_line_written_in_two_parts_is_read(make, record):
    make("eva")
    line = json.dumps(stored(record)[0] | {"id": 2, "username": "ada", "email": "ada@example.com"})
    for part, found in ((line[:20], {1}), (line[20:], {1}), ("\n", {1, 2})):
        with record.open("a") as file:
            file.write(part)
        assert names().keys() == found


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "expected a JSON object"),
        ({"id": 5, "username": "EVA"}, "username is taken by user 3, line 4"),
        ({"id": 5, "email": "Eva@example.com"}, "email is taken by user 3, line 4"),
        ({"id": 2}, "user 2 was deleted before"),
    ],
)
def test_a_bad_line_is_named_reads_go_on_and_writes_do_not(make, as_admin, admin, record, caplog, line, reason):
    services.user_delete(user_id=make("gone").pk, actor=admin.pk)
    make("eva")
    before = record.read_text()
    own = {"username": "x", "email": "x@example.com"}
    text = line if isinstance(line, str) else json.dumps(stored(record)[-1] | own | line)
    with record.open("a") as file:
        file.write(text + "\n")
    for _ in range(2):
        assert len(as_admin("GET", "/api/users").json()["results"]) == 2
    assert_problem(as_admin("POST", "/api/users", own | {"password": PASSWORD}), 503)
    where = f"{record}:{len(before.splitlines()) + 1}: {reason}"
    assert caplog.text.count(where) == 2  # of the reads, and of the write
    with pytest.raises(StoreError, match="Correct that line"):
        reopened()
    record.write_text(before)
    assert as_admin("POST", "/api/users", own | {"password": PASSWORD}).status_code == 201


def test_without_an_index_a_bad_line_is_503_until_it_is_corrected(make, as_admin, record, state):
    make("eva")
    before = record.read_text()
    record.write_text("nonsense\n" + before)
    connection.close()
    (state / "index.sqlite3").unlink()
    response = as_admin("GET", "/api/users")
    assert_problem(response, 503)
    assert response["Retry-After"] == "1"
    record.write_text(before)
    assert as_admin("GET", "/api/users").status_code == 200


@pytest.mark.parametrize("is_compacted", [True, False])
def test_an_incomplete_line_among_known_ones_is_damage_if_something_is_missing(make, record, is_compacted):
    services.user_update(user_id=make("eva").pk, actor=1, full_name="Eva")
    first, last = record.read_bytes().splitlines(keepends=True)
    before = generation()
    record.write_bytes(last + first[:9] if is_compacted else first + last[:-1])
    if is_compacted:
        reopened()
        assert (names(), generation()) == ({1: "eva"}, before)
    else:
        with pytest.raises(StoreError, match=r"users\.jsonl:2: the line is incomplete"):
            reopened()


def test_empty_lines_are_ignored(make, record):
    make("eva")
    with record.open("a") as file:
        file.write("\n  \n")
    make("ada")
    reopened()
    assert names() == {1: "eva", 2: "ada"}


@pytest.mark.parametrize("content", [None, b"", b"\n\n"])
@pytest.mark.parametrize("has_index", [True, False])
def test_an_empty_or_missing_record_is_a_lost_one(make, record, state, content, has_index):
    make("eva")
    before = record.read_bytes()
    connection.close()
    record.unlink()
    if content is not None:
        record.write_bytes(content)
    if not has_index:
        (state / "index.sqlite3").unlink()
    with pytest.raises(StoreError, match="empty or missing, but there were users"):
        reopened()
    with pytest.raises(StoreError):
        make("ada")
    record.write_bytes(before)
    assert make("ada").pk == 2 or not has_index


def test_to_begin_without_users_record_marks_and_index_are_deleted(make, state):
    make("eva")
    connection.close()
    for path in state.iterdir():
        path.unlink()
    reopened()
    assert names() == {}
    assert make("ada").pk == 1


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_a_record_that_is_no_regular_file_is_rejected(make, record, tmp_path, kind):
    make("eva")
    record.rename(tmp_path / "elsewhere")
    if kind == "link":
        record.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(record)
    else:
        record.mkdir()
    with pytest.raises(StoreError):
        make("ada")
    assert names() == {1: "eva"}


@pytest.fixture(params=["serving", "stopped", "without an index"])
def look(request, state):
    """Have an edit of the files noticed."""

    def look() -> None:
        if request.param == "without an index":
            connection.close()
            (state / "index.sqlite3").unlink()
        if request.param == "serving":
            store.current().catch_up()
        else:
            reopened()

    return look


def test_an_older_copy_is_another_generation_and_frees_no_id(make, admin, record, state, look, caplog):
    make("eva")
    copy = record.read_bytes()
    cursor = selectors.session_ends().cursor
    given = make("ada").pk
    services.user_update(user_id=2, actor=admin.pk, is_active=False)
    store.current()._tidied_at = -1e9  # a minute goes by
    services.user_update(user_id=2, actor=admin.pk, full_name="Eva")
    record.write_bytes(copy)
    look()
    assert names() == {1: "root", 2: "eva"}
    assert "all sessions end" in caplog.text
    assert selectors.session_ends(after=cursor).all_ended
    assert make("kim").pk > given
    assert not selectors.session_ends(after=selectors.session_ends().cursor).all_ended


def test_an_edit_in_place_is_another_generation(make, admin, record, caplog):
    user = make("eva")
    before = generation()
    record.write_text(record.read_text().replace('"full_name": ""', '"full_name": "Edited"'))
    store.current().catch_up()
    assert User.objects.get(pk=user.pk).full_name == "Edited"
    assert generation() != before
