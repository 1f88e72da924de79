import json
import logging
import os
import shutil
import threading
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper

from chassis.databases import StorageFull
from chassis.problems import Unavailable
from users import changes, index, journal, services, verification
from users import record as records
from users.lines import LARGEST
from users.models import Deletion, Position, User
from users.record import Extent, JournalError

from .conftest import settle, stored

pytestmark = pytest.mark.record


def names() -> dict[int, str]:
    journal.catch_up()
    return dict(User.objects.values_list("pk", "username"))


def edit(record, old: str, new: str) -> None:
    text = record.read_text()
    assert old in text
    record.write_text(text.replace(old, new))


def reopened() -> None:
    """Do what a start of the service does."""
    connection.close()
    journal.journal_at.cache_clear()
    journal.open_record()


def test_a_user_is_a_line_and_a_row_that_say_the_same(make, record):
    user = make("eva", full_name="Eva Ö.", created_by=7)
    (line,) = stored(record)
    assert (line["model"], line["pk"], line["fields"]["username"]) == ("users.user", user.pk, "eva")
    row = User.objects.get()
    assert row.created_at == user.created_at == row.updated_at
    assert line["fields"]["created_at"] == row.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert line["fields"]["password"] == row.password
    assert row.password.startswith("argon2$argon2id$")


def test_a_change_appends_a_line_and_a_deletion_a_tombstone_after_what_tells_of_them(make, record, admin):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva")
    services.user_delete(user_id=user.pk, actor=admin.pk)
    assert [(line["model"], line["pk"]) for line in stored(record)] == [
        ("users.user", 1),
        ("users.user", 2),
        ("users.userchange", 1),
        ("users.userchange", 2),
        ("users.user", 2),
        ("users.userchange", 3),
        ("users.deletion", 2),
    ]
    assert stored(record)[-1]["fields"]["deleted_by"] == admin.pk
    assert names() == {1: "root"}


def test_only_the_owner_may_read_any_of_it(make, record):
    make("eva")
    assert record.parent.stat().st_mode & 0o777 == 0o700
    assert record.stat().st_mode & 0o777 == 0o600


def test_permissions_that_an_edit_left_open_are_closed(make, record):
    make("eva")
    record.chmod(0o644)
    assert names() == {1: "eva"}
    assert record.stat().st_mode & 0o777 == 0o600


def test_ids_are_never_used_again(make, admin, record):
    user = make("eva")
    services.user_delete(user_id=user.pk, actor=admin.pk)
    assert make("eva").pk == user.pk + 1
    with pytest.raises(ValueError, match="not used again"):
        User(pk=user.pk, username="ada", email="ada@example.com").save()
    (record.parent / "index.sqlite3").unlink()
    reopened()
    assert make("ada").pk == user.pk + 2


def test_an_exception_in_the_block_writes_nothing(make, record):
    make("eva")
    before = record.read_bytes()
    with pytest.raises(ZeroDivisionError), journal.writing() as writer:  # noqa: PT012  # what is tested is the block
        writer.put(User(username="ada", email="ada@example.com", password="!"))
        assert User.objects.count() == 2
        raise ZeroDivisionError
    assert record.read_bytes() == before
    assert names() == {1: "eva"}


def test_a_value_that_no_user_may_have_writes_nothing(make, record):
    make("eva")
    before = record.read_bytes()
    for values in ({"username": "a b"}, {"username": "EVA"}, {"email": "Eva@Example.com"}):
        with pytest.raises(ValidationError), journal.writing() as writer:
            writer.put(User(**({"username": "ada", "email": "ada@example.com", "password": "!"} | values)))
    assert record.read_bytes() == before


def test_a_write_inside_of_a_transaction_is_refused(make, record):
    with pytest.raises(RuntimeError, match="inside of a transaction"), transaction.atomic():
        make("eva")
    assert not record.exists()


def test_a_writer_inside_of_a_writer_is_refused(make):
    with pytest.raises(RuntimeError), journal.writing():
        make("eva")
    assert names() == {}


def test_several_changes_of_one_writer_stand_or_fall_together(record):
    with journal.writing() as writer:
        for name in ("eva", "ada"):
            writer.put(User(username=name, email=f"{name}@example.com", password="!"))
    assert [line["pk"] for line in stored(record)] == [1, 2]
    assert names() == {1: "eva", 2: "ada"}


# What a crash leaves


def test_a_torn_last_line_is_cut_off_with_a_warning(make, record, caplog):
    make("eva")
    whole = record.read_bytes()
    record.write_bytes(whole + whole[: len(whole) // 2])
    settle(record)
    assert names() == {1: "eva"}
    assert record.read_bytes() == whole
    assert "torn" in caplog.text
    assert "argon2" not in caplog.text


def test_a_torn_last_line_is_cut_off_at_a_start_without_index(make, record, state):
    make("eva")
    whole = record.read_bytes()
    record.write_bytes(whole + b'{"model')
    (state / "index.sqlite3").unlink()
    settle(record)
    reopened()
    assert names() == {1: "eva"}
    assert record.read_bytes() == whole


def test_a_line_that_lost_only_its_newline_is_kept(make, record, caplog):
    make("eva")
    record.write_bytes(record.read_bytes().rstrip(b"\n"))
    assert names() == {1: "eva"}
    assert record.read_bytes().endswith(b"}}\n")


def test_a_half_saved_edit_is_waited_for_and_not_cut(make, record):
    make("eva")
    make("ada")
    whole = record.read_bytes()
    record.write_bytes(whole.replace(b"eva@", b"EVA@")[:-20])
    with pytest.raises(JournalError, match=r"users.jsonl:2: The last line"):
        journal.catch_up()
    record.write_bytes(whole.replace(b"eva@", b"EVA@"))
    assert names() == {1: "eva", 2: "ada"}
    assert User.objects.get(pk=1).email == "EVA@example.com"


@pytest.mark.parametrize("how", ["appended", "edited", "unended", "torn"])
def test_what_is_read_is_on_disk_before_the_index_tells_of_it(make, record, monkeypatch, how):
    """Whoever wrote it may have been killed before that."""
    make("eva")
    line = stored(record)[0]
    other = json.dumps(line | {"pk": 2, "fields": line["fields"] | {"username": "ada", "email": "a@example.com"}})
    before = record.read_text()
    record.write_text(
        {
            "appended": f"{before}{other}\n",
            "edited": before.replace("eva@", "eve@") + other + "\n",
            "unended": before + other,
            "torn": f'{before}{other}\n{{"mod',
        }[how]
    )
    settle(record)
    told: list[str] = []
    fsync, commit = os.fsync, DatabaseWrapper._commit

    def synced(descriptor: int) -> None:
        where = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        told.append(where.rpartition("/")[2] + (f" of {record.stat().st_size}" if where == str(record) else ""))
        fsync(descriptor)

    monkeypatch.setattr(records.os, "fsync", synced)
    monkeypatch.setattr(DatabaseWrapper, "_commit", lambda database: (told.append("commit"), commit(database))[1])
    assert names() == {1: "eva", 2: "ada"}
    size = record.stat().st_size
    assert told[-3:] == [f"users.jsonl of {size}", "users", "commit"]


CRASHES = {
    "before the append": "record.append = lambda *_: os._exit(9)",
    "in the middle of the append": """
def half(descriptor, data):
    os.write(descriptor, data[:len(data) // 2])
    os._exit(9)
record.write_all = half""",
    "before the fsync": "record.os.fsync = lambda _: os._exit(9)",
    "after the fsync, before the commit": "index.save_position = lambda **_: os._exit(9)",
    "at the commit": """
from django.db import connection
connection.ensure_connection()
connection._commit = lambda: os._exit(9)""",
    "after the commit": "journal.Journal.compact_if_due = lambda *_: os._exit(9)",
}


@pytest.mark.parametrize("point", CRASHES)
def test_a_crash_leaves_all_that_was_answered_and_the_write_under_way_whole_or_not_at_all(point, make, run, record):
    make("eva")
    before = record.read_bytes()
    source = 'services.user_create(username="ada", email="ada@example.com", password="p")'
    assert run(f"journal.open_record()\n{CRASHES[point]}\n{source}").returncode == 9
    settle(record)
    written = point not in {"before the append", "in the middle of the append"}
    assert names() == ({1: "eva", 2: "ada"} if written else {1: "eva"})
    assert record.read_bytes().startswith(before)
    assert len(stored(record)) == len(names())
    assert make("kim").pk == (3 if written else 2)


# Edits and other files


def test_an_edit_by_hand_is_read_again(make, record):
    make("eva")
    make("ada")
    edit(record, "eva@example.com", "eva@example.org")
    journal.catch_up()
    assert User.objects.get(pk=1).email == "eva@example.org"
    assert make("kim").pk == 3


def test_a_line_removed_by_hand_is_gone(make, record):
    make("eva")
    make("ada")
    record.write_text(record.read_text().splitlines(keepends=True)[1])
    settle(record)
    assert names() == {2: "ada"}


def test_a_line_added_by_hand_is_read_and_the_rest_is_not_read_again(make, record):
    make("eva")
    generation = Position.objects.get().generation
    line = stored(record)[0]
    line["pk"] = 5
    line["fields"] |= {"username": "ada", "email": "ada@example.com"}
    with record.open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert names() == {1: "eva", 5: "ada"}
    assert Position.objects.get().generation == generation
    assert make("kim").pk == 6


def test_a_replaced_record_is_read_again(make, record, tmp_path):
    make("eva")
    shutil.copy(record, tmp_path / "backup")
    make("ada")
    generation = Position.objects.get().generation
    (tmp_path / "backup").replace(record)
    settle(record)
    assert names() == {1: "eva"}
    assert Position.objects.get().generation != generation


def test_a_touched_record_is_not_read_again(make, record):
    make("eva")
    before = Position.objects.get()
    os.utime(record)
    assert names() == {1: "eva"}
    after = Position.objects.get()
    assert after.generation == before.generation
    assert after.identity != before.identity


def test_a_write_after_an_edit_keeps_the_edit(make, record):
    make("eva")
    edit(record, "eva@example.com", "eva@example.org")
    make("ada")
    assert User.objects.get(pk=1).email == "eva@example.org"
    assert names() == {1: "eva", 2: "ada"}


@pytest.mark.parametrize("content", [None, b"", b"\n", b" \n\n"], ids=["missing", "empty", "a line", "lines"])
def test_a_lost_record_is_not_taken_for_one_without_users(make, record, state, content):
    make("eva")
    saved = record.read_bytes()
    record.unlink()
    if content is not None:
        record.write_bytes(content)
    for _ in range(2):
        with pytest.raises(JournalError, match="empty or missing"):
            journal.catch_up()
    if content is not None:
        settle(record)
    with pytest.raises(JournalError):
        make("ada")
    with pytest.raises(JournalError, match="empty or missing"):
        verification.verify(journal.current())
    with pytest.raises(JournalError, match="empty or missing"):
        reopened()
    record.write_bytes(saved)
    assert names() == {1: "eva"}


def test_a_lost_record_with_a_deleted_index_is_one_without_users(make, record, state):
    make("eva")
    record.unlink()
    with pytest.raises(JournalError):
        journal.catch_up()
    (state / "index.sqlite3").unlink()
    assert names() == {}
    assert make("ada").pk == 1


def broken(line: dict, **fields: object) -> str:
    return json.dumps(line | {"fields": line["fields"] | fields})


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (1, lambda line: "nonsense", "expected JSON"),
        (2, lambda line: json.dumps(line | {"model": "users.group"}), "expected .users.user."),
        (2, lambda line: broken(line, shoe_size=5), "unknown field shoe_size"),
        (3, lambda line: broken(line, username="EVA"), "username is another user's, of line 1: user 1"),
        (3, lambda line: broken(line, email="EVA@example.com"), "email is another user's, of line 1"),
        (4, lambda line: broken(line, username="Kim"), "username is another user's, of line 3"),
        (5, lambda line: json.dumps(line | {"pk": 4}), "user 4 was deleted before"),
    ],
)
def test_an_unreadable_line_stops_the_service_and_names_file_and_line(
    make, admin, record, state, caplog, number, change, message
):
    record.unlink()
    (state / "index.sqlite3").unlink()
    journal.catch_up()
    for name in ("eva", "ada", "kim", "leo"):
        make(name)
    services.user_delete(user_id=4, actor=1)
    make("mia")
    lines = [line for line in record.read_text().splitlines() if "users.userchange" not in line]
    del lines[3]  # leo; his tombstone stays: eva, ada, kim, tombstone, mia
    if number == 4:
        lines[3], number = lines[4], 4
        del lines[4]
    whole = record.read_text()
    lines[number - 1] = change(json.loads(lines[number - 1]))
    record.write_text("\n".join(lines) + "\n")
    for _ in range(2):
        with pytest.raises(
            JournalError, match=rf"users\.jsonl:{number}: .*{message}.*(?<!\.)\. Mend that line, or put"
        ):
            journal.catch_up()
    assert caplog.text.count(f"users.jsonl:{number}: ") == 1
    with pytest.raises(JournalError):
        reopened()
    record.write_text(whole)
    assert names() == {1: "eva", 2: "ada", 3: "kim", 5: "mia"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pk": 3}, r"(username|email) is another user's: user 2\. Mend"),
        ({"pk": 1}, "user 1 was deleted before"),
    ],
)
def test_an_unreadable_line_after_those_known_stops_the_service_too(make, admin, record, values, message):
    make("eva")
    make("ada")
    with journal.writing() as writer:
        writer.remove(admin)
    line = stored(record)[1]
    with record.open("a") as file:
        file.write(json.dumps(line | values) + "\n")
    with pytest.raises(JournalError, match=message) as error:
        journal.catch_up()
    assert str(error.value).startswith(f"{record}:7: ")


def test_a_duplicate_email_after_the_lines_known_is_named(make, record):
    make("eva")
    line = stored(record)[0]
    with record.open("a") as file:
        file.write(broken(line | {"pk": 2}, username="ada") + "\n")
    with pytest.raises(JournalError, match=r"email is another user's: user 1\. Mend"):
        journal.catch_up()


def test_a_tombstone_added_by_hand_deletes(make, admin, record):
    user = make("eva")
    with record.open("a") as file:
        line = {"model": "users.deletion", "pk": user.pk, "fields": {"deleted_at": "2026-01-01T00:00:00Z"}}
        file.write(json.dumps(line) + "\n")
    settle(record)
    assert names() == {admin.pk: "root"}


@pytest.mark.parametrize("anew", [False, True])
def test_lines_are_right_one_after_another_whether_they_are_read_at_once_or_as_they_come(make, record, state, anew):
    make("eva")
    make("ada")
    eva, ada = stored(record)
    for one, other in ((eva, ada), (ada, eva)):
        one["new"] = one["fields"] | {name: other["fields"][name] for name in ("username", "email")}
    with record.open("a") as file:
        for line in (eva, ada):
            file.write(json.dumps({"model": "users.user", "pk": line["pk"], "fields": line["new"]}) + "\n")
    if anew:
        (state / "index.sqlite3").unlink()
    with pytest.raises(JournalError, match=r"users\.jsonl:3: (username|email) is another user's"):
        journal.catch_up()


@pytest.mark.parametrize("anew", [False, True])
def test_a_name_that_is_free_by_then_can_be_anothers(make, record, state, anew):
    make("eva")
    make("ada")
    eva, ada = (line["fields"] for line in stored(record))
    names_of = ("username", "email")
    said = [
        (1, eva | {"username": "x", "email": "x@example.com"}),
        (2, ada | {name: eva[name] for name in names_of}),
        (1, eva | {name: ada[name] for name in names_of}),
    ]
    with record.open("a") as file:
        for pk, fields in said:
            file.write(json.dumps({"model": "users.user", "pk": pk, "fields": fields}) + "\n")
    if anew:
        (state / "index.sqlite3").unlink()
    assert names() == {1: "ada", 2: "eva"}


def test_an_editors_empty_lines_are_none(make, admin, record, state):
    make("eva")
    record.write_text(record.read_text().replace("\n", "\n\n") + " ")
    assert names() == {1: "root", 2: "eva"}
    services.user_update(user_id=2, actor=admin.pk, full_name="Eva")
    with record.open("a") as file:
        file.write("\n")
    assert names() == {1: "root", 2: "eva"}
    (state / "index.sqlite3").unlink()
    assert names() == {1: "root", 2: "eva"}
    with journal.current().lock.held():
        journal.current().bring_up()
        journal.current().compact()
    assert b"\n\n" not in record.read_bytes()
    assert names() == {1: "root", 2: "eva"}


def test_an_empty_line_makes_no_history_whole(make, admin, record, state):
    services.user_update(user_id=1, actor=admin.pk, full_name="Name")
    lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(lines[:-1]) + b"\n")
    settle(record)
    (state / "index.sqlite3").unlink()
    assert names() == {1: "root"}
    assert record.read_bytes() == lines[0]


def test_a_link_is_refused_at_a_start_and_what_it_leads_to_is_left_alone(make, record, tmp_path, manage):
    """To write anew what a link leads to would take the link away, and who has followed it would go on elsewhere."""
    make("eva")
    target = tmp_path / "people.jsonl"
    record.rename(target)
    target.chmod(0o644)
    before = target.read_bytes()
    for there in (target, record, tmp_path / "nowhere"):  # a file, itself, nothing
        record.unlink(missing_ok=True)
        record.symlink_to(there)
        for command in ("check", "verify_users"):
            refused = manage(command)
            assert f"{record}: Expected a file, got a link." in refused.stderr
            assert "Traceback" not in refused.stderr
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (before, 0o644)


@pytest.mark.parametrize("make_node", [Path.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_is_no_file_is_refused_and_not_waited_for(make, record, make_node, manage):
    make("eva")
    record.unlink()
    make_node(record)
    for command in ("check", "verify_users"):
        refused = manage(command)
        assert f"{record}: Expected a file, got a " in refused.stderr
        assert "Traceback" not in refused.stderr
    with pytest.raises(JournalError, match="Expected a file"):
        journal.catch_up()
    with pytest.raises(JournalError, match="Expected a file"):
        make("ada")


def test_a_link_put_in_the_place_of_the_record_stops_it_until_a_file_is_back(make, record, tmp_path, run, caplog):
    """This process and one that starts now see the same."""
    make("eva")
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(record.read_bytes())
    make("ada")
    away = record.rename(tmp_path / "away.jsonl")
    record.symlink_to(copy)
    for _ in range(2):
        with pytest.raises(JournalError, match=r"users\.jsonl: Expected a file, got a link\."):
            names()
    with pytest.raises(JournalError, match="got a link"):
        make("kim")
    assert "got a link" in run("journal.open_record()").stderr
    assert caplog.text.count("got a link") == 1
    assert copy.read_text().count("\n") == 1
    away.rename(record)
    assert names() == {1: "eva", 2: "ada"}
    assert make("kim").pk == 3


def test_a_link_put_there_in_the_middle_of_a_write_takes_nothing_that_was_answered(make, record, tmp_path, monkeypatch):
    """The write is not answered with success: by the link, the next one could not be told from it."""
    make("eva")
    before = record.read_bytes()
    away = tmp_path / "away.jsonl"

    def linked(descriptor: int, data: bytes) -> None:
        record.rename(away)
        record.symlink_to(away)
        os.write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_all", linked)
        with pytest.raises(Unavailable, match="edited at the same time"):
            make("ada")
    record.unlink()
    away.rename(record)
    assert names() == {1: "eva"}
    assert record.read_bytes() == before


# The numbers


def add_line(record, model: str, pk: int, **fields: object) -> None:
    with record.open("a") as file:
        file.write(json.dumps({"model": model, "pk": pk, "fields": fields}) + "\n")
    settle(record)


def test_the_largest_id_is_the_last(make, admin, record, as_admin):
    add_line(record, "users.deletion", LARGEST, deleted_at="2026-01-01T00:00:00Z")
    before = everything_in(record)
    answer = as_admin(
        "POST", "/api/users", {"username": "ada", "email": "ada@example.com", "password": "Long enough 1"}
    )
    assert (answer.status_code, answer.json()["detail"][:28]) == (507, "Nothing can be numbered afte")
    assert everything_in(record) == before
    assert as_admin("GET", "/api/users").status_code == 200


def everything_in(record) -> list[object]:
    journal.catch_up()
    return [record.read_bytes(), *User.objects.values(), *Deletion.objects.values()]


def test_users_can_be_taken_elsewhere_where_nothing_can_be_numbered(make, record, tmp_path):
    make("eva")
    with record.open("a") as file:
        file.write(json.dumps(stored(record)[0] | {"pk": LARGEST}).replace("eva", "kim") + "\n")
    call_command("export_users", tmp_path / "out.json")
    assert [user["id"] for user in json.loads((tmp_path / "out.json").read_text())] == [1, LARGEST]


def test_sessions_end_with_the_largest_number_and_the_cursor_after_it_is_taken(make, admin, record, as_gateway):
    user, other = make("eva"), make("ada")
    line = stored(record)[1]
    line["fields"] |= {"session_epoch": LARGEST - 1, "sessions_ended_seq": LARGEST - 1}
    add_line(record, line["model"], line["pk"], **line["fields"])
    services.user_update(user_id=user.pk, actor=admin.pk, is_active=False)
    answer = as_gateway("GET", "/internal/session-ends").json()
    assert [end["session_epoch"] for end in answer["ends"]] == [LARGEST]
    assert as_gateway("GET", f"/internal/session-ends?after={answer['cursor']}").json()["ends"] == []
    with pytest.raises(StorageFull, match="Nothing can be numbered after"):
        services.user_update(user_id=other.pk, actor=admin.pk, is_active=False)
    assert User.objects.get(pk=other.pk).is_active


def test_the_last_time_is_no_obstacle_to_a_change(make, admin, record):
    make("eva")
    line = stored(record)[1]
    line["fields"] |= dict.fromkeys(("created_at", "updated_at"), "9998-12-31T23:59:59.999Z")
    add_line(record, line["model"], line["pk"], **line["fields"])
    for name in ("Eva", "Eva B."):
        services.user_update(user_id=2, actor=admin.pk, full_name=name)
    assert User.objects.get(pk=2).full_name == "Eva B."
    reopened()


# The index


@pytest.mark.parametrize("which", ["", "-wal", "-shm"])
def test_only_the_owner_may_read_the_index(make, state, which):
    (state / "index.sqlite3").unlink()
    make("eva")
    assert (state / f"index.sqlite3{which}").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("leave", ["", "-wal"], ids=["all of it", "but its log"])
def test_a_deleted_index_is_made_again_while_running(make, state, leave):
    make("eva")
    for path in state.glob("index.sqlite3*"):
        if not (leave and path.name.endswith(("-wal", "-shm"))):
            path.unlink()
    assert names() == {1: "eva"}
    assert make("ada").pk == 2
    assert names() == {1: "eva", 2: "ada"}


def test_an_index_deleted_under_a_writer_loses_nothing(make, state):
    with journal.writing() as writer:
        writer.put(User(username="eva", email="eva@example.com", password="!"))
        (state / "index.sqlite3").unlink()
    assert names() == {1: "eva"}


def test_threads_that_had_the_deleted_index_open_go_on_with_the_new_one(make, state):
    make("eva")
    deleted, seen = threading.Event(), []
    ready = threading.Barrier(2)

    def reader() -> None:
        seen.append(names())
        ready.wait(10)
        deleted.wait(10)
        seen.append(names())
        connection.close()

    thread = threading.Thread(target=reader)
    thread.start()
    ready.wait(10)
    (state / "index.sqlite3").unlink()
    make("ada")
    deleted.set()
    thread.join(10)
    assert seen == [{1: "eva"}, {1: "eva", 2: "ada"}]


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO django_migrations (app, name, applied) VALUES ('users', '9999_later', '2026-01-01')",
        "DELETE FROM django_migrations WHERE app = 'users'",
        "DROP TABLE django_migrations",
    ],
)
def test_an_index_of_another_version_is_made_again_at_a_start(make, state, change):
    make("eva")
    with connection.cursor() as cursor:
        cursor.execute(change)
    inode = (state / "index.sqlite3").stat().st_ino
    connection.close()
    held = (state / "index.sqlite3").open("rb")  # so that its inode is not used again
    reopened()
    held.close()
    assert (state / "index.sqlite3").stat().st_ino != inode
    assert names() == {1: "eva"}


def test_a_damaged_index_is_not_made_again_before_somebody_says_so(make, state):
    """It may know more than a record that was restored."""
    make("eva")
    connection.close()
    damaged = b"not a database" * 1000
    (state / "index.sqlite3").write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(index.IndexDamagedError, match=r"index.sqlite3: The index is damaged \(file is not a data"):
            reopened()
    assert (state / "index.sqlite3").read_bytes() == damaged
    (state / "index.sqlite3").unlink()
    reopened()
    assert names() == {1: "eva"}


def test_an_index_without_its_tables_is_filled_again(make, state):
    make("eva")
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE users_position")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'users'")
    journal.journal_at.cache_clear()
    assert names() == {1: "eva"}


def test_another_complaint_of_the_database_is_not_taken_for_an_empty_index(make, monkeypatch):
    def locked(*args: object, **kwargs: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(Position.objects, "filter", locked)
    with pytest.raises(OperationalError):
        index.position()


def test_a_commit_that_fails_takes_the_line_back(make, record, monkeypatch):
    make("eva")
    before = record.read_bytes()

    def fail(**kwargs: object) -> None:
        raise OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(index, "save_position", fail)
        with pytest.raises(Unavailable):
            make("ada")
    assert record.read_bytes() == before
    assert names() == {1: "eva"}


def test_a_full_index_is_a_full_disk(make, record):
    make("eva")
    before = record.read_bytes()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        pages = cursor.fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull):  # noqa: PT012  # at which of them is SQLite's
        for number in range(1000):
            make(f"user{number}")
    connection.close()
    assert len(stored(record)) == len(names()) == User.objects.count()
    assert record.read_bytes().startswith(before)


def test_a_disk_that_is_full_stores_nothing(make, run, record):
    make("eva")
    before = record.read_bytes()
    source = """
import resource, sys
journal.open_record()
append, size = record.append, os.stat(record_path).st_size
def on_a_full_disk(*args):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
    try:
        return append(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
record.append = on_a_full_disk
try:
    services.user_create(username="ada", email="ada@example.com", password="p")
except record.StorageFull:
    record.append = append
    services.user_create(username="kim", email="kim@example.com", password="p")
    sys.exit(7)
"""
    done = run(f"record_path = {str(record)!r}\n" + source)
    assert done.returncode == 7, done.stderr
    assert record.read_bytes().startswith(before)
    assert names() == {1: "eva", 2: "kim"}


NO_ROOM = """
import resource
from users.models import User
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
journal.open_record()
print(User.objects.count())
"""


def test_a_start_without_room_to_note_that_the_record_was_touched_serves_what_is_there(make, run, record):
    make("eva")
    os.utime(record)
    done = run(NO_ROOM)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_start_without_room_for_what_was_edited_fails_and_says_why(make, run, manage, record):
    make("eva")
    edit(record, "eva@example.com", "eva@example.org")
    assert "OperationalError" in run(NO_ROOM).stderr
    assert names() == {1: "eva"}


def test_readers_do_not_wait_for_a_writer(make, record):
    make("eva")
    seen = []

    def reader() -> None:
        seen.append(names())
        connection.close()

    with journal.writing() as writer:
        writer.put(User(username="ada", email="ada@example.com", password="!"))
        os.utime(record)  # the reader sees a record that is not what the index says
        thread = threading.Thread(target=reader)
        thread.start()
        thread.join(5)
        assert seen == [{1: "eva"}]
        writer.lines.clear()


# Compaction


@pytest.fixture
def compacting(monkeypatch):
    monkeypatch.setattr(journal, "COMPACT_FROM", 5)
    monkeypatch.setattr(index, "HISTORY", 2)


def test_superseded_lines_are_compacted_away(make, admin, record, compacting, everything):
    users = [make(f"user{number}") for number in range(3)]
    services.user_delete(user_id=users[0].pk, actor=admin.pk)
    generation, lengths = Position.objects.get().generation, []
    for number in range(12):
        services.user_update(user_id=users[1].pk, actor=admin.pk, full_name=f"Name {number}")
        lengths.append(len(stored(record)))
    assert max(lengths) <= 20
    assert lengths != sorted(lengths)
    position = Position.objects.get()
    # Three users and a deletion; that the one was made and deleted, that the other was made and changed, twice.
    assert (position.lines, position.live, position.generation) == (len(stored(record)), 9, generation)
    before = everything()
    (record.parent / "index.sqlite3").unlink()
    reopened()
    assert everything() == before
    assert Position.objects.get().live == 9
    assert record.stat().st_mode & 0o777 == 0o600


COMPACTION_CRASHES = {
    "before the new record is on disk": "record.os.fsync = lambda _: os._exit(9)",
    "before the new record takes its place": "record.Path.replace = lambda *_: os._exit(9)",
    "after it": "record.sync_directory = lambda _: os._exit(9)",
    "before the index says so": "index.save_position = lambda **_: os._exit(9)",
}


@pytest.mark.parametrize("point", COMPACTION_CRASHES)
def test_a_crash_while_compacting_leaves_the_old_record_or_the_new(point, make, admin, run, record):
    for number in range(5):
        services.user_update(user_id=admin.pk, actor=admin.pk, full_name=f"Name {number}")
    before = record.read_bytes()
    source = f"""
journal.open_record()
with journal.current().lock.held():
    {COMPACTION_CRASHES[point]}
    journal.current().compact()
"""
    assert run(source).returncode == 9
    replaced = point in {"after it", "before the index says so"}
    lines = before.splitlines(keepends=True)
    alive = [line for line in lines if b"users.userchange" in line] + lines[-1:]
    assert record.read_bytes() == (b"".join(alive) if replaced else before)
    assert names() == {1: "root"}
    assert User.objects.get().full_name == "Name 4"
    make("eva")
    with journal.current().lock.held():
        journal.current().compact()
    assert len(stored(record)) == len(alive) + 1


def test_a_compaction_that_fails_changes_nothing(make, admin, record, compacting, monkeypatch, caplog):
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(records, "replace", fail)
        for number in range(9):
            services.user_update(user_id=admin.pk, actor=admin.pk, full_name=f"Name {number}")
    # It reads and writes the whole record: not again after each of the next writes, but some lines later.
    assert caplog.text.count("cannot be compacted") == 2
    assert len(stored(record)) == 1 + 1 + 2 * 9
    assert User.objects.get().full_name == "Name 8"
    for number in range(4):
        services.user_update(user_id=admin.pk, actor=admin.pk, full_name=f"Later {number}")
    assert len(stored(record)) <= 10


def test_a_record_edited_since_is_not_compacted(make, admin, record):
    services.user_update(user_id=admin.pk, actor=admin.pk, full_name="Name")
    os.utime(record)
    with journal.current().lock.held(), pytest.raises(Unavailable):
        journal.current().compact()
    assert len(stored(record)) == 4


def test_the_cost_of_a_write_does_not_grow_with_the_users(make, admin, record, monkeypatch):
    """Neither the record nor a table is read as a whole: what SQLite does for a write is the same for 2000 users."""

    def steps() -> int:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        connection.ensure_connection()
        connection.connection.set_progress_handler(step, 100)
        services.user_update(user_id=admin.pk, actor=admin.pk, full_name=f"Name {os.urandom(4).hex()}")
        connection.connection.set_progress_handler(None, 0)
        return count

    few = steps()
    with journal.writing() as writer:
        for number in range(2000):
            writer.put(User(username=f"u{number}", email=f"u{number}@example.com", password="!"))
    monkeypatch.setattr(records, "holds", None)
    monkeypatch.setattr(records, "lines_after", None)
    assert steps() <= few * 2 + 5


# What ends sessions


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({"full_name": "Eva"}, False),
        ({"email": "e@example.com"}, False),
        ({"username": "ada"}, False),
        ({"password": "another horse 2"}, True),
        ({"user_type": "admin"}, True),
        ({"is_active": False}, True),
    ],
)
def test_what_changes_rights_ends_sessions_and_nothing_else_does(make, admin, change, ends):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=admin.pk, **change)
    after = User.objects.get(pk=user.pk)
    assert (after.session_epoch, after.sessions_ended_seq, after.kept_session) == ((1, 1, "") if ends else (0, 0, ""))


def test_activation_ends_nothing_and_forgets_nothing(make, admin):
    user = make("eva")
    for is_active in (False, True):
        services.user_update(user_id=user.pk, actor=admin.pk, is_active=is_active)
    assert User.objects.get(pk=user.pk).session_epoch == 1


def test_an_instance_read_earlier_takes_no_end_back(make, admin):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=admin.pk, password="another horse 2")
    user.refresh_from_db(fields=["password"])
    user.save()
    assert User.objects.get(pk=user.pk).session_epoch == 1


def test_the_time_is_in_the_precision_of_the_record():
    assert changes.now().microsecond % 1000 == 0


def test_extents_of_a_new_index_are_empty():
    assert journal.extent_of(Position.objects.get()) == Extent()


def test_the_journal_says_nothing_when_nothing_is_wrong(make, caplog):
    with caplog.at_level(logging.DEBUG, logger="users.journal"):
        make("eva")
        names()
    assert caplog.text == ""
