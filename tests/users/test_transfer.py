"""Users to and from files: `import_users`, `export_users`, and that nothing is lost between the two."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest
from django.contrib.auth.hashers import check_password
from django.core.management import CommandError, call_command
from django.db import connection

from users import services, store
from users.models import Deletion, User
from users.transfer.exports import FORMATS
from users.transfer.hashes import imported
from users.transfer.readers import COLUMNS

from .conftest import ON_POSTGRESQL, PASSWORD, PROJECT, empty_tables, environment, put
from .test_api import BAD, NEW
from .test_passwords import ARGON2ID, BCRYPT

# As a FastAPI service with passlib stored them.
OLD = [
    {
        "id": 1,
        "username": "admin",
        "email": "admin@example.com",
        "full_name": "The Admin",
        "user_type": "admin",
        "hashed_password": BCRYPT,
        "created_by": None,
    },
    {
        "id": 7,
        "username": "Eva",
        "email": "eva@example.com",
        "full_name": "Eva Ö.",
        "user_type": "default",
        "hashed_password": bcrypt.hashpw(b"old password", bcrypt.gensalt(4)).decode(),
        "created_by": 1,
    },
]
# A users.jsonl of an earlier version: two versions of a user, a deletion, and an entry of a history.
TIMES = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00.500Z"}
EARLIER_USER = {"username": "eva", "email": "eva@example.com", "password": f"argon2{ARGON2ID}"} | TIMES
EARLIER = [
    {"model": "users.user", "pk": 4, "fields": EARLIER_USER},
    {"model": "users.userchange", "pk": 1, "fields": {"user_id": 4, "action": "changed"}},
    {"model": "users.user", "pk": 4, "fields": EARLIER_USER | {"session_epoch": 3, "sessions_ended_seq": 7}},
    {"model": "users.deletion", "pk": 9, "fields": {"deleted_at": "2026-01-01T00:00:00Z", "deleted_by": 4}},
]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "users.json"
    path.write_text(json.dumps(OLD))
    return path


def written(tmp_path: Path, *users: object, name: str = "in.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(users))
    return path


def user(**values: object) -> dict[str, object]:
    return OLD[1] | {"created_by": None} | values


def run(*arguments: object, **options: object) -> None:
    call_command(*map(str, arguments), **options)


def rows() -> list[list[dict[str, object]]]:
    store.current().catch_up()
    return [list(model._default_manager.order_by("pk").values()) for model in (User, Deletion)]


def test_users_of_an_old_service_sign_in_with_their_passwords(old, manage, as_gateway):
    done = manage("import_users", str(old))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Imported 2 entries. The next new user gets the id 8.\n")
    store.current().catch_up()
    assert list(User.objects.order_by("id").values_list("id", "username", "user_type", "created_by")) == [
        (1, "admin", "admin", None),
        (7, "Eva", "default", 1),
    ]
    for _ in range(2):
        response = as_gateway("POST", "/internal/credentials", {"username": "eva", "password": "old password"})
        assert (response.status_code, response.json()["id"]) == (200, 7)
        assert User.objects.get(pk=7).password.startswith("argon2$argon2id$")
    assert User.objects.get(pk=1).password == f"bcrypt${BCRYPT}"
    assert services.user_create(username="ada", email="ada@example.com", password=PASSWORD).pk == 8


def test_a_dry_run_reports_the_same_and_writes_nothing(old, capsys):
    run("import_users", old, dry_run=True)
    assert capsys.readouterr().out == "2 entries can be imported.\n"
    assert rows() == [[], []]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["no object"], "expected a JSON object"), ([user(shoe_size=5)], "shoe_size: Unknown field"),
        ([{"username": "eva"}], "email: This field is required.; hashed_password: This"),
        ([user(username="e va")], "username: Use only ASCII letters"),
        ([user(id=10**18)], "id: Ensure this value is less than"), ([user(id=0)], "id: "), ([user(id="1")], "id: "),
        ([user(username="x" * 151)], "username: .*150"), ([user(username=5)], "username: "),
        ([user(email="eva")], "email: Enter a valid email"), ([user(full_name="Eva\u202e")], r"full_name: .*U\+202E"),
        ([user(user_type="root")], "user_type: "), ([user(is_active=1)], "is_active: "),
        ([user(session_epoch=-1)], "session_epoch: "), ([user(hashed_password="$1$salt$x")], "hashed_password: "),
        ([user(hashed_password=BCRYPT.replace("$12$", "$31$"))], "hashed_password: .*bcrypt"),
        ([user(), user()], "entry 2: rejected: id: is also that of entry 1"),
        ([user(), user(id=8, username="EVA", email="x@example.com")], "entry 2: .*username: is also that of entry 1"),
        ([user(), user(id=8, username="ada", email="Eva@Example.com")], "entry 2: .*email: is also that of entry 1"),
        ([user(username="Root", id=9)], "username: is also that of a stored user"),
        ([user(id=1)], "id: is also that of a stored user"),
        ([user(id=2)], "id: is also that of a deleted user"),
        ([{"username": "eva", "password": BCRYPT}], "rejected: The field of the hash is hashed_password, not password"),
        ([user(password="secret") | TIMES], "rejected: The field of the hash is hashed_password, not password"),
        ([user(id=7, password="x") | {"hashed_password": None} | TIMES], "rejected: expected a bcrypt"),
        ([{"model": "users.group", "pk": 3, "fields": {}}], r"not a line of a users\.jsonl"),
    ],
)  # fmt: skip
def test_a_rejected_entry_rejects_the_import_unless_it_is_skipped(values, reason, make, admin, tmp_path, capsys):
    services.user_delete(user_id=make("gone").pk, actor=admin.pk)
    before = rows()
    path = written(tmp_path, *values, user(id=20, username="good", email="good@example.com"))
    with pytest.raises(CommandError, match=r"Nothing was imported\. Rejected: 1 entry\. \d entr(y|ies) can be"):
        run("import_users", path)
    reported = capsys.readouterr().err
    assert re.search(reason, reported), reported
    assert rows() == before
    run("import_users", path, keep_going=True)
    assert re.search(rf"Imported {len(values)} entr(y|ies)\. Rejected: 1 entry\.", capsys.readouterr().out)
    users, deletions = rows()
    assert (len(users), deletions) == (1 + len(values), before[1])


@pytest.mark.parametrize(
    "change", [change for change, _ in BAD if change.keys() <= OLD[0].keys() - {"id"} and None not in change.values()]
)
def test_a_row_follows_the_rules_of_the_api_and_has_its_messages(as_admin, tmp_path, capsys, change):
    said = as_admin("POST", "/api/users", NEW | change).json()["detail"]
    path = written(tmp_path, {"username": "ada", "email": "ada@example.com", "hashed_password": "!"} | change)
    with pytest.raises(CommandError, match="Nothing was imported"):
        run("import_users", path)
    assert capsys.readouterr().err == f"entry 1: rejected: {said}\n"


def test_a_row_is_trimmed_as_by_the_api(tmp_path):
    run("import_users", written(tmp_path, user(username=" eva ", email=" e@example.com", full_name="  Eva L. ")))
    assert User.objects.values_list("username", "email", "full_name").get() == ("eva", "e@example.com", "Eva L.")


def test_created_by_is_the_id_of_a_user_of_the_same_file_or_left_out(admin, tmp_path):
    """The ids of a file are those of where it comes from: here they are other users'."""
    path = written(
        tmp_path,
        user(id=5, created_by=6),
        user(id=6, username="a", email="a@example.com", created_by="Eva"),
        user(id=8, username="b", email="b@example.com", created_by=999),
        user(id=9, username="c", email="c@example.com", created_by=admin.pk),
    )
    run("import_users", path)
    assert dict(User.objects.values_list("username", "created_by")) == {
        "root": None, "Eva": 6, "a": None, "b": None, "c": None
    }  # fmt: skip


def test_a_user_without_an_id_gets_one_above_all_others(make, tmp_path):
    make("root")
    path = written(
        tmp_path,
        {"username": "a", "email": "a@example.com", "hashed_password": "!"},
        user(id=50),
        {"username": "b", "email": "b@example.com", "hashed_password": ARGON2ID, "full_name": None},
    )
    run("import_users", path)
    assert dict(User.objects.values_list("username", "id")) == {"root": 1, "a": 51, "Eva": 50, "b": 52}
    assert make("c").pk == 53


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.json", b"{}", "JSON array"), ("x.json", b"[\n{]", "Line 2: "), ("x.json", b'["\xe9"]', "not UTF-8"),
        ("x.csv", b"a,a,username\n", r"found: \['a', 'a', 'username'\]"),
        ("x.csv", b"", r"a header with .*; found: \[\]"), ("x.csv", b'username\n"x', "Line 1: "),
        ("x.csv", b"username;email\n", r"found: \['username;email'\]"),
        ("x.csv", b"Username,email\n", r"found: \['Username', 'email'\]"),
        ("x.csv", b"1,%b\n" % BCRYPT.encode() * 20, rf"found: \['1', '{re.escape(BCRYPT[:20])}'\]"),
        ("x.csv", b"x" * 99 + b",x" * 99, r"found: \['x{20}'(, 'x'){11}\]"),
        ("x.csv", b"username,full_name\neva,Ev\xe4\n", "not UTF-8"),
        ("x.txt", b"[]", "Choose a --format"), ("missing.json", None, "No such file"),
    ],
)  # fmt: skip
def test_a_file_of_another_format_is_rejected_as_a_whole(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError, match=rf"{name}.*{reason}.*Nothing was imported"):
        run("import_users", tmp_path / name)
    assert rows() == [[], []]


@pytest.mark.parametrize(
    ("is_active", "expected"), [("1", True), ("0", False), ("t", True), ("f", False), ("FALSE", False), ("", True)]
)
def test_a_csv_has_booleans_as_databases_write_them(tmp_path, is_active, expected):
    text = f"id,username,email,hashed_password,is_active,created_by\n7,eva,e@example.com,{BCRYPT},{is_active},7\n"
    (tmp_path / "x.csv").write_text(text)
    run("import_users", tmp_path / "x.csv")
    assert list(User.objects.values_list("pk", "is_active", "created_by")) == [(7, expected, 7)]


def test_lines_that_cannot_be_read_are_rejected_with_their_numbers(tmp_path, capsys):
    good = user(id=20, username="good", email="good@example.com")
    (tmp_path / "x.jsonl").write_text(f"nonsense\n\n{json.dumps(good)}\n[\n")
    run("import_users", tmp_path / "x.jsonl", keep_going=True)
    reported = capsys.readouterr().err
    assert "line 1: rejected: not a JSON object" in reported
    assert "line 4: rejected: not a JSON object" in reported
    assert User.objects.get().username == "good"


def test_an_id_that_was_given_since_the_check_is_not_given_again(old, make, monkeypatch):
    from users.transfer import imports

    plan = imports.plan
    monkeypatch.setattr(imports, "plan", lambda rows: (plan(rows), make("first"))[0])
    with pytest.raises(CommandError, match="A user was created at the same time"):
        run("import_users", old)
    assert [row["username"] for row in rows()[0]] == ["first"]


@pytest.fixture
def varied(make, admin) -> list[object]:
    """Users of every kind, and what is stored of them."""
    make("eva", full_name='=HYPERLINK("http://x","Ö, y")', created_by=admin.pk)
    make("off", is_active=False, full_name="two  spaces")
    services.user_update(user_id=2, actor=admin.pk, password="another horse 2")
    put(User(username="none", email="none@example.com", password="!x"))
    put(User(username="old", email="old@example.com", password=imported(BCRYPT)))
    return rows()


def emptied(state: Path) -> None:
    """Begin again, without users."""
    if ON_POSTGRESQL:
        empty_tables()
        return
    connection.close()
    for path in state.glob("*"):
        path.unlink()
    store._journal_at.cache_clear()
    store.current().open()


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_is_imported_as_it_was(file_format, varied, state, tmp_path, capsys):
    path = tmp_path / f"out.{file_format}"
    run("export_users", path)
    assert capsys.readouterr().err.startswith("Wrote 5 users, ")
    assert path.stat().st_mode & 0o777 == 0o600
    emptied(state)
    run("import_users", path)
    users, _ = rows()
    for row in (*users, *varied[0]):
        for name in ("session_end", "password_changed_at", "updated_by"):
            row.pop(name)
        row["password"] = "!" if row["password"].startswith("!") else row["password"]
    assert users == varied[0]
    assert services.user_create(username="next", email="next@example.com", password=PASSWORD).pk == 6


def test_an_export_without_a_file_goes_to_standard_output(varied, manage):
    done = manage("export_users")
    assert done.returncode == 0
    assert [json.loads(line)["username"] for line in done.stdout.splitlines()] == ["root", "eva", "off", "none", "old"]


def test_an_export_has_hashes_as_other_programs_read_them(varied, tmp_path):
    run("export_users", tmp_path / "out", format="csv")
    with (tmp_path / "out").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["hashed_password"].split("$")[1:2] for row in found] == [["argon2id"]] * 3 + [[], ["2b"]]
    assert found[1]["full_name"] == '=HYPERLINK("http://x","Ö, y")'
    assert tuple(found[0]) == COLUMNS


def test_an_export_overwrites_no_file(make, tmp_path):
    make("eva")
    path = tmp_path / "x.jsonl"
    path.write_text("mine")
    with pytest.raises(CommandError, match=rf"^{path} exists\. Name a new file\.$"):
        run("export_users", path)
    assert path.read_text() == "mine"
    with pytest.raises(OSError, match="No such file"):
        run("export_users", tmp_path / "missing" / "x.jsonl")


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_whose_reader_ends_says_nothing(state, file_format):
    with store.writing() as writer:
        for number in range(400):  # more than a pipe holds
            writer.put(User(username=f"u{number}", email=f"u{number}@example.com", full_name="x" * 150, password="!"))
    script = f"{sys.executable} manage.py export_users --format {file_format} | head -n 1 >&2; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=PROJECT, env=environment(state), capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr.count("\n")) == ("1\n", 1), done.stderr


def test_a_deleted_user_s_id_is_not_given_again_after_a_move(varied, admin, state, tmp_path):
    services.user_delete(user_id=5, actor=admin.pk)
    path = tmp_path / "out.jsonl"
    run("export_users", path)
    emptied(state)
    run("import_users", path)
    assert services.user_create(username="next", email="next@example.com", password=PASSWORD).pk == 6


def test_ids_that_were_in_use_elsewhere_are_reserved_by_a_deletion(old, tmp_path, capsys):
    reserved = {"id": 499, "deleted": True, "updated_at": "2026-01-31T12:00:00Z"}
    run("import_users", written(tmp_path, *OLD, reserved))
    assert capsys.readouterr().out == "Imported 3 entries. The next new user gets the id 500.\n"
    assert services.user_create(username="next", email="next@example.com", password=PASSWORD).pk == 500


def test_the_example_of_the_documentation_is_imported_into_a_started_stack(make, tmp_path, capsys):
    text = (PROJECT.parent / "docs" / "operations.md").read_text()
    example = re.search(r"```json\n(\[\n.*?\n\])\n```", text, re.DOTALL)[1]
    make("admin", user_type="admin")
    make("user")
    (tmp_path / "old.json").write_text(example)
    run("import_users", tmp_path / "old.json")
    assert capsys.readouterr().err == ""
    assert check_password("secret", User.objects.get(username="eva").password)


@pytest.mark.record
def test_a_users_jsonl_is_moved_with_its_deletions_and_ended_sessions(varied, admin, record, state, tmp_path, capsys):
    services.user_delete(user_id=3, actor=admin.pk)
    before = rows()
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(record.read_bytes())
    emptied(state)
    run("import_users", moved)
    assert "Imported 5 entries. The next new user gets the id 6.\n" in capsys.readouterr().out
    after = rows()
    for row in before[0]:
        row["password"] = "!" if row["password"].startswith("!") else row["password"]
    assert after == before


def test_a_users_jsonl_of_an_earlier_version_is_imported(state, tmp_path, as_gateway):
    path = tmp_path / "users.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in EARLIER))
    run("import_users", path)
    eva = User.objects.get()
    assert (eva.pk, eva.session_epoch, eva.session_end) == (4, 3, 7)
    assert list(Deletion.objects.values_list("pk", "updated_by")) == [(9, 4)]
    assert services.user_create(username="ada", email="ada@example.com", password=PASSWORD).pk == 10


@pytest.mark.postgresql
def test_on_postgresql_there_is_no_file_to_look_at(state):
    with pytest.raises(CommandError, match="The users are in PostgreSQL"):
        run("verify_users")
