"""What becomes of ids and sessions where the record is edited by hand, restored, or cut off."""

import json
import shutil

import pytest
from django.db import connection

from users import index, journal, latest, services
from users import record as records
from users.models import Deletion, User
from users.record import JournalError, UnsettledError

from .conftest import settle, stored
from .test_journal import names, reopened

pytestmark = pytest.mark.record


def ends(as_gateway, cursor: str = "") -> tuple[dict[int, tuple[int, bool]], str]:
    """Return whose sessions ended after the cursor, as `{user: (epoch, deleted)}`, and the cursor after them."""
    answer = as_gateway("GET", f"/internal/session-ends?after={cursor}").json()
    return {end["user_id"]: (end["session_epoch"], end["deleted"]) for end in answer["ends"]}, answer["cursor"]


def without_index(state) -> None:
    connection.close()
    for path in state.glob("index.sqlite3*"):
        path.unlink()


def of_another_version() -> None:
    """Let the index be one that a start makes anew."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('users', '9999_x', '2026-01-01')")


def change_lines(record, change) -> None:
    """Let the function change each line's object; a line of which it makes nothing is left out."""
    lines = [change(line) for line in stored(record)]
    record.write_text("".join(json.dumps(line) + "\n" for line in lines if line))
    settle(record)


def rights(user_id: int) -> tuple[int, bool]:
    user = User.objects.get(pk=user_id)
    return user.session_epoch, user.is_active


@pytest.fixture(params=["serving", "stopped"])
def look(request):
    """Look at the record as a running service does, and as a start does."""
    return journal.catch_up if request.param == "serving" else reopened


def test_an_id_is_not_given_again_after_an_older_file_was_restored(
    make, admin, record, tmp_path, look, state, as_gateway
):
    gone = make("eva")
    services.user_delete(user_id=gone.pk, actor=admin.pk)
    shutil.copy(record, tmp_path / "backup")
    last = make("ada")
    services.user_update(user_id=last.pk, actor=admin.pk, password="another horse 2")
    deleted = make("kim")
    services.user_delete(user_id=deleted.pk, actor=admin.pk)
    _, cursor = ends(as_gateway)
    shutil.copy(tmp_path / "backup", record)
    settle(record)
    look()
    assert names() == {admin.pk: "root"}
    told, _ = ends(as_gateway, cursor)
    assert told == {gone.pk: (1, True), last.pk: (2, True), deleted.pk: (1, True)}
    without_index(state)  # what it knew is in the record by then
    assert make("mia").pk == deleted.pk + 1
    assert set(Deletion.objects.values_list("pk", flat=True)) == {gone.pk, last.pk, deleted.pk}


def test_sessions_end_where_an_older_file_has_the_user_of_an_earlier_epoch(make, admin, record, tmp_path, look):
    user = make("eva")
    shutil.copy(record, tmp_path / "backup")
    for number in range(3):
        services.user_update(user_id=user.pk, actor=admin.pk, password=f"another horse {number}")
    shutil.copy(tmp_path / "backup", record)
    settle(record)
    look()
    assert rights(user.pk) == (4, True)
    assert User.objects.get(pk=user.pk).check_password("correct horse 1")


def test_who_comes_back_with_an_older_file_has_to_sign_in_again(make, admin, record, tmp_path, look, as_gateway):
    user = make("eva")
    shutil.copy(record, tmp_path / "backup")
    services.user_delete(user_id=user.pk, actor=admin.pk)
    shutil.copy(tmp_path / "backup", record)
    settle(record)
    look()
    assert names() == {admin.pk: "root", user.pk: "eva"}
    assert ends(as_gateway)[0] == {user.pk: (2, False)}


@pytest.mark.parametrize("kind", ["users.user", "users.deletion"])
def test_a_line_that_was_taken_out_by_hand_frees_no_id(make, admin, record, look, state, kind):
    user, _ = make("eva"), make("ada")
    if kind == "users.deletion":
        services.user_delete(user_id=user.pk, actor=admin.pk)
    before = list(Deletion.objects.values())
    change_lines(
        record, lambda line: None if line["pk"] == user.pk or line["fields"].get("user_id") == user.pk else line
    )
    look()
    assert user.pk not in names()
    if before:
        assert list(Deletion.objects.values()) == before
    without_index(state)
    with pytest.raises(ValueError, match="not used again"):
        User(pk=user.pk, username="kim", email="kim@example.com").save()


@pytest.mark.parametrize(
    ("change", "epoch"),
    [
        ({"is_active": False}, 2),
        ({"user_type": "admin"}, 2),
        ({"password": "!"}, 2),
        ({"session_epoch": 0}, 2),
        ({"session_epoch": 5}, 6),
        ({"session_epoch": 5, "sessions_ended_seq": 9}, 5),
        ({"full_name": "Eva"}, 1),
        ({"username": "lea", "email": "lea@example.com"}, 1),
    ],
)
@pytest.mark.parametrize("where", ["in its line", "at the end"])
def test_what_is_changed_by_hand_ends_sessions_as_by_the_api(
    make, admin, record, look, as_gateway, change, epoch, where
):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=admin.pk, password="another horse 2")
    _, cursor = ends(as_gateway)
    line = stored(record)[-1]
    assert line["pk"] == user.pk
    line["fields"] |= change
    if where == "at the end":
        with record.open("a") as file:
            file.write(json.dumps(line) + "\n")
        settle(record)
    else:
        change_lines(record, lambda other: line if other == stored(record)[-1] else other)
    look()
    told, _ = ends(as_gateway, cursor)
    assert rights(user.pk) == (epoch, change.get("is_active", True))
    if epoch != 1:
        assert told == {user.pk: (epoch, False)}
    content = record.read_bytes()
    reopened()
    assert record.read_bytes() == content


def test_a_deletion_added_by_hand_ends_sessions(make, admin, record, look, as_gateway):
    user = make("eva")
    with record.open("a") as file:
        line = {"model": "users.deletion", "pk": user.pk, "fields": {"deleted_at": "2026-01-01T00:00:00Z"}}
        file.write(json.dumps(line) + "\n")
    settle(record)
    look()
    assert ends(as_gateway)[0] == {user.pk: (1, True)}
    assert Deletion.objects.get().deleted_at.year == 2026


def test_a_file_that_may_be_in_the_middle_of_being_saved_is_waited_for(make, record, tmp_path, monkeypatch):
    """Its first lines can look like all of an older one; what is deleted for that stays so."""
    make("eva")
    make("ada")
    whole = record.read_bytes()
    record.write_bytes(whole.splitlines(keepends=True)[0])
    for _ in range(2):
        with pytest.raises(UnsettledError, match="once nobody has written it for 2 s"):
            journal.catch_up()
    record.write_bytes(whole)
    assert names() == {1: "eva", 2: "ada"}
    assert record.read_bytes() == whole


def test_a_start_waits_for_it(make, record, monkeypatch):
    monkeypatch.setattr(records, "SETTLED", 0.3)
    make("eva")
    make("ada")
    record.write_bytes(record.read_bytes().splitlines(keepends=True)[0])
    reopened()
    assert names() == {1: "eva"}
    assert make("kim").pk == 3


def test_a_start_waits_no_longer_than_for_another_one(make, record, monkeypatch):
    monkeypatch.setattr(journal, "START_TIMEOUT", 0.05)
    make("eva")
    make("ada")
    record.write_bytes(record.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(UnsettledError):
        reopened()


@pytest.mark.parametrize("point", ["record.sync_directory", "index.save_position"])
def test_a_crash_between_the_record_and_the_index_forgets_no_id(make, record, run, point):
    make("eva")
    make("ada")
    change_lines(record, lambda line: line if line["pk"] == 1 else None)
    name, function = point.split(".")
    crash = f"record.sync = lambda path: setattr({name}, {function!r}, lambda *_, **__: os._exit(9))"
    assert run(f"{crash}\njournal.open_record()").returncode == 9
    assert names() == {1: "eva"}
    assert make("kim").pk == 3


def test_an_upgrade_of_the_index_forgets_no_id(make, admin, record, tmp_path):
    shutil.copy(record, tmp_path / "backup")
    make("eva")
    shutil.copy(tmp_path / "backup", record)
    settle(record)
    of_another_version()
    reopened()
    assert names() == {admin.pk: "root"}
    assert make("ada").pk == 3


# What was acknowledged and is damaged


@pytest.mark.parametrize("migrated", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1] + b"\x8a",
        lambda content: content[:-30],
        lambda content: content[: content.index(b"\n") + 20],
        lambda content: content[:-1] + b"\0" * 50,
    ],
    ids=["a byte", "an end", "most", "zeros"],
)
def test_lines_that_were_known_are_not_cut_at_a_start(make, record, state, manage, damage, migrated):
    for name in ("eva", "ada", "kim"):
        make(name)
    whole = record.read_bytes()
    record.write_bytes(damage(whole))
    settle(record)
    damaged = record.read_bytes()
    if migrated:
        of_another_version()
    for _ in range(2):
        with pytest.raises(JournalError, match=r"users.jsonl:\d: The last line is not a whole JSON object. Put the fi"):
            reopened()
    verified = manage("verify_users")
    assert verified.returncode == 1
    assert "The last line is not a whole JSON object. Put the file back" in verified.stderr
    assert record.read_bytes() == damaged
    record.write_bytes(whole)
    reopened()
    assert names() == {1: "eva", 2: "ada", 3: "kim"}


def test_who_takes_the_damaged_line_out_says_that_it_is_lost(make, record):
    for name in ("eva", "ada", "kim"):
        make(name)
    record.write_bytes(record.read_bytes()[:-1] + b"\x8a")
    with pytest.raises(JournalError):
        reopened()
    record.write_bytes(b"".join(record.read_bytes().splitlines(keepends=True)[:2]))
    settle(record)
    reopened()
    assert names() == {1: "eva", 2: "ada"}
    assert make("mia").pk == 4


def test_verification_changes_nothing(make, record, state, manage, everything):
    make("eva")
    make("ada")
    whole = record.read_bytes()
    for content, said in [
        (whole, "the index says the same"),
        (whole + b'{"torn', "users.jsonl:3: expected JSON"),
        (whole + whole[: whole.index(b"\n") + 1].replace(b"eva", b"kim"), "has not read the file from line 3 on"),
        (whole[:-1] + b'"\n', "users.jsonl:2: expected JSON"),
        (whole[:-100], "users.jsonl:2: The last line is not a whole JSON object. Put the file back"),
        (b"", "users.jsonl: It is empty or missing. Put the file back"),
        (whole.splitlines(keepends=True)[0], "user 2: in the index, not in the file"),
        (b"\n", "users.jsonl: It is empty or missing. Put the file back"),
    ]:
        record.write_bytes(content)
        before = everything()
        done = manage("verify_users")
        assert said in done.stdout + done.stderr
        assert done.returncode == (0 if content == whole else 1)
        assert everything() == before
    without_index(state)
    record.write_bytes(whole)
    done = manage("verify_users")
    assert "2 lines, 2 users, 0 deletions" in done.stderr
    assert "there is no index" in done.stderr
    assert not (state / "index.sqlite3").exists()


def test_of_nothing_known_there_is_nothing_to_say(state):
    assert index.known([1]) == {}


def test_of_a_lost_file_service_and_verification_say_the_same_and_the_safe_step_first(make, record, manage):
    make("eva")
    record.unlink()
    with pytest.raises(JournalError) as refused:
        reopened()
    said = str(refused.value)
    assert said.startswith(f"{record}: It is empty or missing.")
    assert said.index("Put the file back") < said.index("delete the index")
    assert "nobody knows then which ids were given" in said
    assert manage("verify_users").stderr == f"CommandError: {said}\n"


def test_the_log_says_who_is_deleted_and_who_signed_out_by_an_edit(make, record, look, caplog):
    gone, changed = make("eva"), make("ada")
    change_lines(
        record,
        lambda line: None if line["pk"] == gone.pk else line | {"fields": line["fields"] | {"user_type": "admin"}},
    )
    look()
    assert f"by it 1 users ({gone.pk}) stay or are deleted, 1 users ({changed.pk}) are signed out" in caplog.text


def test_the_log_names_so_many_ids_as_can_be_read():
    assert latest.counted([]) == "0 users"
    assert latest.counted(list(range(latest.SHOWN + 1))).endswith(", 98, 99, …)")
