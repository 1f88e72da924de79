"""What a write stores, which ids are given, and the index that is lost or damaged."""

import threading

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper

from chassis.problems import Unavailable
from users import services, store
from users.models import Deletion, User
from users.store import marks

from .conftest import put, remove, stored
from .journals import compact, generation, names, reopened

pytestmark = pytest.mark.record


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
    compact()
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}
    assert state.stat().st_mode & 0o777 == 0o700


def test_a_write_inside_of_a_transaction_or_of_another_write_is_refused(make):
    with pytest.raises(RuntimeError, match="inside of a transaction"), transaction.atomic():
        make("eva")
    with pytest.raises(RuntimeError), store.writing():
        make("eva")


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
def test_a_file_restored_during_a_write_stays_whole_and_the_write_is_503(make, record, users):
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


@pytest.mark.parametrize("which", [["index.sqlite3"], ["index.sqlite3-wal", "index.sqlite3-shm"], ["index.sqlite3*"]])
def test_a_deleted_index_is_rebuilt_while_serving(make, as_admin, state, which):
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
def test_a_damaged_index_is_rebuilt(make, as_admin, state, part, caplog):
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


def test_an_index_of_another_version_is_rebuilt_at_start(make):
    make("eva")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'users'")
        cursor.execute("ALTER TABLE users_user DROP COLUMN kept_session")
    reopened()
    assert names() == {1: "eva"}


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


def test_what_the_service_logs_when_nothing_is_wrong(make, admin, caplog):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva")
    remove(User.objects.get(pk=user.pk))
    put(User(username="kim", email="kim@example.com", password="!"))
    reopened()
    assert [record for record in caplog.records if record.levelname != "INFO"] == []
