"""users.jsonl and its index: what is stored, what an edit or a restored copy does, and that nothing is lost."""

import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper

from chassis.databases import StorageFull
from chassis.problems import Unavailable
from users import selectors, services, store
from users.models import Deletion, Position, User
from users.store import index, journal, marks, tables
from users.store.errors import StoreError
from users.store.journal import Journal

from .conftest import PASSWORD, put, remove, stored
from .test_api import assert_problem

pytestmark = pytest.mark.record


def names() -> dict[int, str]:
    """Return what queries find."""
    store.current().catch_up()
    return dict(User.objects.values_list("pk", "username"))


def reopened() -> Journal:
    """Return the journal as another process has it."""
    connection.close()
    store._journal_at.cache_clear()
    found = store.current()
    found.open()
    return found


def append(record: Path, *lines: dict[str, object], end: str = "\n") -> None:
    with record.open("a") as file:
        file.write("\n".join(json.dumps(line) for line in lines) + end)


def reaches(value: Callable[[], object], expected: object) -> bool:
    """Wait until it has the expected value, up to a deadline."""
    deadline = time.monotonic() + 30
    while value() != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return value() == expected


def generation() -> str:
    store.current().catch_up()
    return Position.objects.get().generation


# What is stored


def test_a_change_is_a_line_and_a_deletion_is_one_too(make, admin, record):
    user = make("eva", created_by=admin.pk)
    services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva")
    services.user_delete(user_id=user.pk, actor=admin.pk)
    created, changed, deleted = stored(record)[1:]
    assert (created["id"], created["created_by"], created["updated_by"]) == (2, 1, 1)
    assert changed == created | {"full_name": "Eva", "updated_at": changed["updated_at"]}
    assert (deleted["deleted"], deleted["updated_by"], deleted["session_epoch"]) == (True, 1, 1)
    assert names() == {1: "root"}
    assert Deletion.objects.get().session_end == deleted["session_end"]


def test_only_the_owner_may_read_any_of_it(make, state):
    make("eva")
    store.current().compact()
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}
    assert state.stat().st_mode & 0o777 == 0o700


def test_an_exception_in_the_block_stores_nothing(make, everything):
    make("eva")
    before = everything()
    with pytest.raises(ZeroDivisionError), store.writing() as writer:  # noqa: PT012  # the block is what is tested
        writer.put(User(username="ada", email="ada@example.com", password="!"))
        raise ZeroDivisionError
    assert everything() == before


def test_several_changes_of_one_writer_are_stored_together_or_not_at_all(make, everything, monkeypatch):
    make("eva")
    before = everything()

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        patch.setattr(Path, "replace", fail)
        with pytest.raises(StorageFull), store.writing() as writer:  # noqa: PT012
            for name in ("ada", "kim"):
                writer.put(User(username=name, email=f"{name}@example.com", password="!"))
    assert everything() == before
    with store.writing() as writer:
        for name in ("ada", "kim"):
            writer.put(User(username=name, email=f"{name}@example.com", password="!"))
    assert names() == {1: "eva", 2: "ada", 3: "kim"}
    assert not list(store.current().path.parent.glob("*.new"))


def test_a_write_inside_of_a_transaction_or_of_another_write_is_refused(make):
    with pytest.raises(RuntimeError, match="inside of a transaction"), transaction.atomic():
        make("eva")
    with pytest.raises(RuntimeError), store.writing():
        make("eva")


def test_a_commit_that_fails_takes_the_line_back(make, record, monkeypatch):
    make("eva")
    before = record.read_bytes()

    def fail(**values: object) -> None:
        raise OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "save_position", fail)
        with pytest.raises(OperationalError):
            make("ada")
    assert record.read_bytes() == before
    assert make("ada").pk == 2


def test_a_commit_that_fails_itself_takes_the_line_back_too(make, everything, monkeypatch):
    make("eva")
    before = everything()

    def fail(database: object) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseWrapper, "_commit", fail)
        with pytest.raises(OperationalError):
            make("ada")
    assert everything() == before
    assert names() == {1: "eva"}


@pytest.mark.parametrize("users", [1, 2])
def test_a_file_put_in_place_during_a_write_stays_whole_and_the_write_is_503(make, record, users):
    """One that is longer than what the index reflects, as a copy of before a compaction is."""
    for name in ("eva", "ada", "kim"):
        make(name)
    whole, copy = record.read_bytes(), record.with_name("copy")
    record.write_bytes(whole[: whole.index(b"\n") + 1])
    assert names() == {1: "eva"}
    copy.write_bytes(whole)
    with pytest.raises(Unavailable, match="edited at the same time"), store.writing() as writer:  # noqa: PT012
        for number in range(users):
            writer.put(User(username=f"n{number}", email=f"n{number}@example.com", password="!"))
        copy.rename(record)
    assert record.read_bytes() == whole
    assert names() == {1: "eva", 2: "ada", 3: "kim"}


def test_a_file_put_in_place_during_a_compaction_stays(make, admin, record, monkeypatch):
    services.user_update(user_id=admin.pk, actor=admin.pk, full_name="Name")
    whole, copy = record.read_bytes(), record.with_name("copy")
    copy.write_bytes(whole.splitlines(keepends=True)[0])
    append_all = journal.record.append_all

    def meanwhile(*args: object) -> None:
        append_all(*args)
        copy.rename(record)

    with monkeypatch.context() as patch:
        patch.setattr(journal.record, "append_all", meanwhile)
        with pytest.raises(Unavailable, match="edited at the same time"):
            store.current().compact()
    assert record.read_bytes() == whole.splitlines(keepends=True)[0]
    store.current().catch_up()
    assert User.objects.get().full_name == ""


# Ids and marks


def test_ids_go_on_above_every_one_that_was_given(make, admin, state):
    assert make("eva").pk == 2
    services.user_delete(user_id=2, actor=admin.pk)
    reopened()
    assert make("ada").pk == 3
    assert marks.read(state / "users.jsonl").last_id >= 3


def test_lost_marks_are_a_jump_and_a_new_generation(make, state):
    make("eva")
    before = generation()
    connection.close()
    for name in ("users.marks.json", "index.sqlite3"):
        (state / name).unlink()
    reopened()
    assert generation() != before
    assert make("ada").pk > marks.JUMP


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"generation": 1}', b'{"generation": "a", "x": 1}'])
def test_damaged_marks_are_lost_ones(make, state, content):
    make("eva")
    connection.close()
    (state / "users.marks.json").write_bytes(content)
    (state / "index.sqlite3").unlink()
    reopened()
    assert make("ada").pk > marks.JUMP


# An index that is lost or in doubt


@pytest.mark.parametrize("which", [["index.sqlite3"], ["index.sqlite3-wal", "index.sqlite3-shm"], ["index.sqlite3*"]])
def test_a_deleted_index_is_made_again_while_serving(make, as_admin, state, which):
    user = make("eva")
    before = generation()
    for pattern in which:
        for path in state.glob(pattern):
            path.unlink()
    if which == ["index.sqlite3-wal", "index.sqlite3-shm"]:
        connection.close()
    assert as_admin("GET", f"/api/users/{user.pk}").status_code == 200
    assert generation() == before
    assert make("ada").pk > user.pk
    reopened()
    assert names().keys() >= {1, user.pk}


@pytest.mark.parametrize("part", ["head", "all"])
def test_a_damaged_index_is_made_again(make, as_admin, state, part, caplog):
    user = make("eva")
    connection.close()
    path = state / "index.sqlite3"
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    content = bytearray(path.read_bytes())
    for place in range(len(content))[: 100 if part == "head" else None]:
        content[place] ^= 0xFF
    path.write_bytes(content)
    responses = [as_admin("GET", f"/api/users/{user.pk}").status_code for _ in range(2)]
    assert responses[-1] == 200, responses
    assert "rebuilt" in caplog.text
    assert make("ada").pk > user.pk


def test_an_index_of_another_version_is_made_again_at_a_start(make):
    make("eva")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'users'")
        cursor.execute("ALTER TABLE users_user DROP COLUMN kept_session")
    reopened()
    assert names() == {1: "eva"}


def test_a_large_record_is_read_while_the_last_good_index_answers(make, admin, record, monkeypatch):
    monkeypatch.setattr(journal, "MAX_READ", 100)
    user = make("eva")
    record.write_text(record.read_text().replace('"full_name": ""', '"full_name": "Edited"'))
    other = sqlite3.connect(index.path(), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # the new index cannot be written before this ends
    store.current().catch_up()
    assert User.objects.get(pk=user.pk).full_name == ""
    other.execute("COMMIT")
    other.close()
    assert reaches(lambda: User.objects.get(pk=user.pk).full_name, "Edited")
    assert make("ada").pk > user.pk


def test_readers_do_not_wait_for_a_writer(make):
    make("eva")
    found = []

    def look() -> None:
        found.append(names())
        connection.close()

    with store.current().lock.held():
        reader = threading.Thread(target=look)
        reader.start()
        reader.join(5)
    assert found == [{1: "eva"}]


# The record, edited and damaged


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


def test_a_line_in_progress_is_not_there_yet_and_the_next_writer_cuts_it(make, record, caplog):
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
        ({"id": 5, "username": "EVA"}, "the username is taken by another user"),
        ({"id": 5, "email": "Eva@example.com"}, "the email is taken by another user"),
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
    assert caplog.text.count(where) == 1
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
def test_something_else_than_a_file_is_refused_and_not_waited_for(make, record, tmp_path, kind):
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


# Copies and edits in place


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
    store.current()._marked_at = -1e9  # a minute goes by
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


def test_a_copy_of_the_same_content_changes_nothing(make, record, tmp_path):
    make("eva")
    before = generation()
    shutil.copy(record, tmp_path / "copy")
    (tmp_path / "copy").rename(record)
    os.utime(record)
    assert names() == {1: "eva"}
    assert generation() == before


# Compaction


def test_superseded_lines_move_to_the_history_without_hashes(make, admin, record, everything, monkeypatch):
    monkeypatch.setattr(journal, "COMPACT_FROM", 5)
    for number in range(9):
        services.user_update(user_id=admin.pk, actor=admin.pk, full_name=f"Name {number}")
    assert len(stored(record)) < 7
    moved = [json.loads(line) for line in record.with_name("users.history.jsonl").read_text().splitlines()]
    assert {line["password"] for line in moved} == {""}
    assert len(moved) + len(stored(record)) == 10
    before = generation(), everything()[0]
    assert len(selectors.user_history(user_id=admin.pk)) == 10
    reopened().verify()
    assert (generation(), everything()[0]) == before


def test_a_compaction_keeps_what_a_line_by_hand_left_to_be_worked_out(make, record):
    user = make("eva")
    line = stored(record)[-1]
    for name in ("session_epoch", "session_end", "kept_session"):
        del line[name]
    append(record, line | {"is_active": False, "updated_at": "2090-01-31T12:00:00.123456+01:00"})
    before = generation()
    assert store.current().compact() == 1
    assert stored(record)[-1]["session_epoch"] == 1
    connection.close()
    index.path().unlink()
    reopened()
    assert (User.objects.get(pk=user.pk).session_epoch, generation()) == (1, before)


@pytest.mark.parametrize("point", ["append_all", "replace", "save_position", "write"])
def test_a_compaction_that_fails_loses_nothing(make, admin, record, everything, monkeypatch, point):
    services.user_update(user_id=admin.pk, actor=admin.pk, full_name="Name")
    before, rows = generation(), everything()[0]

    def fail(*args: object, **values: object) -> None:
        raise OSError(5, "Input/output error")

    module = {"save_position": tables, "write": marks}.get(point, journal.record)
    with monkeypatch.context() as patch:
        patch.setattr(module, point, fail)
        with suppress(OSError, Unavailable):
            store.current().compact()
    reopened()
    assert (generation(), everything()[0]) == (before, rows)
    assert len(selectors.user_history(user_id=admin.pk)) == 2
    assert make("eva").pk == 2


def test_what_the_service_logs_when_nothing_is_wrong(make, admin, caplog):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva")
    remove(User.objects.get(pk=user.pk))
    put(User(username="kim", email="kim@example.com", password="!"))
    reopened()
    assert [record for record in caplog.records if record.levelname != "INFO"] == []
