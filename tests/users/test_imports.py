"""What goes in and out by files: `import_users`, `export_users`, and that nothing is lost between the two."""

import csv
import errno
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction

from users import entries, exports, imports, index, journal, lines, passwords, services, verification
from users import record as records
from users.models import Deletion, User, UserChange

from .conftest import ON_POSTGRESQL, PASSWORD, PROJECT, empty_tables, environment
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


@pytest.fixture(autouse=True)
def no_bcrypt_remembered():
    services.imported_hashes.cache_clear()
    yield
    services.imported_hashes.cache_clear()


@pytest.fixture
def run_killed(state: Path) -> Callable[[Path], None]:
    """Export into that file, in a process that is killed while it writes."""

    def run_killed(path: Path) -> None:
        source = f"""
import os, signal, django; django.setup()
from pathlib import Path
from users import exports
exports.export(Path({str(path)!r}), "json", lambda count: os.kill(os.getpid(), signal.SIGKILL))
"""
        variables = environment(state, DJANGO_SETTINGS_MODULE="users_project.settings")
        done = subprocess.run([sys.executable, "-c", source], cwd=PROJECT, env=variables, check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL

    return run_killed


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "users.json"
    path.write_text(json.dumps(OLD))
    return path


def written(tmp_path: Path, *users: object, name: str = "in.json") -> Path:
    path = tmp_path / name
    path.write_text(dumped(users))
    return path


def user(**values: object) -> dict[str, object]:
    return OLD[1] | {"created_by": None} | values


def deletion(pk: int, **fields: object) -> dict[str, object]:
    return {"model": "users.deletion", "pk": pk, "fields": {"deleted_at": "2026-01-01T00:00:00Z", **fields}}


def run(*arguments: object, **options: object) -> None:
    if arguments[0] != "verify_users":  # it runs none
        options["skip_checks"] = True
    call_command(*map(str, arguments), **options)


def everything() -> list[object]:
    journal.catch_up()
    return [list(model._default_manager.order_by("pk").values()) for model in (User, Deletion)]


def test_users_of_the_old_service_sign_in_with_their_passwords(old, manage, as_gateway):
    done = manage("import_users", str(old))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Imported 2 users. The next new user is 8.\nSuch a file does not say whose ids were")
    journal.catch_up()
    assert list(User.objects.order_by("id").values_list("id", "username", "user_type", "created_by")) == [
        (1, "admin", "admin", None),
        (7, "Eva", "default", 1),
    ]
    for _ in range(2):
        answer = as_gateway("POST", "/internal/credentials", {"username": "eva", "password": "old password"})
        assert (answer.status_code, answer.json()["id"]) == (200, 7)
        assert User.objects.get(pk=7).password.startswith("argon2$argon2id$")
    assert User.objects.get(pk=1).password == f"bcrypt${BCRYPT}"
    assert services.user_create(username="ada", email="ada@example.com", password=PASSWORD).pk == 8


def test_a_dry_run_says_the_same_and_writes_nothing(old, capsys):
    run("import_users", old, dry_run=True)
    assert capsys.readouterr().out == "Would import 2 users.\n"
    assert everything() == [[], []]


class Digits:
    """A number of 5,000 digits, which Python's json neither reads nor writes."""


def dumped(users: object) -> str:
    return json.dumps(users, default=lambda value: "DIGITS").replace('"DIGITS"', "9" * 5000)


REJECTED = [
    (["no object"], "entry 1: rejected: expected an object"),
    ([None], "entry 1: rejected: expected an object"),
    ([user(shoe_size=5)], 'unknown field "shoe_size"'),
    ([{"username": "eva"}], "email: is missing; hashed_password: is missing"),
    ([user(username="eva\n")], "username: Expected only ASCII letters"),
    ([user(username="=1+1|cmd")], "username: Expected only ASCII letters"),
    ([user(username="x" * 151)], "username: Ensure this value has at most 150"),
    ([user(username=5)], "username: expected a string"),
    ([user(email="eva")], "email: Enter a valid email"),
    ([user(email=None)], "email: expected a string"),
    ([user(full_name="Eva\u202e")], "full_name: "),
    ([user(full_name="\ud800")], "full_name: "),
    ([user(id=Digits())], "id: expected a whole number from 1 to"),
    ([user(username=Digits())], "username: expected a string"),
    ([user(session_epoch=Digits())], "session_epoch: "),
    (
        [{"model": "users.user", "pk": Digits(), "fields": {}}],
        'expected a whole number from 1 to 9007199254740991 as "pk"',
    ),
    ([user(user_type="root")], "user_type: Value 'root' is not a valid choice"),
    ([user(is_active=1)], "is_active: expected true or false"),
    ([user(id=0)], "id: expected a whole number from 1 to 4503599627370495"),
    ([user(id=2**52)], "id: expected a whole number from 1 to 4503599627370495"),
    ([user(session_epoch=2**52)], "session_epoch: expected a whole number up to 4503599627370495"),
    ([deletion(2**52)], "pk: expected a whole number up to 4503599627370495"),
    ([deletion(3, sessions_ended_seq=2**52)], "sessions_ended_seq: expected a whole number up to 4503599627370495"),
    ([user(id=2**53)], "id: expected a whole number"),
    ([user(id=True)], "id: expected a whole number"),
    ([user(id="1")], "id: expected a whole number"),
    ([user(id=2.0)], "id: expected a whole number"),
    ([user(session_epoch=-1)], "session_epoch: "),
    ([user(created_at="2026-01-01T00:00:00")], "created_at: expected a time with its offset"),
    ([user(hashed_password=None)], "hashed_password: expected a string"),
    ([user(hashed_password="$1$salt$x")], "hashed_password: expected a bcrypt ($2b$…) or Argon2id"),
    ([user(hashed_password=BCRYPT.replace("$12$", "$31$"))], "hashed_password: expected a bcrypt cost"),
    ([user(), user()], "entry 2: rejected: id: 7 is also that of entry 1"),
    (
        [user(), user(id=8, username="EVA", email="x@example.com")],
        "entry 2: rejected: username: is also that of entry 1",
    ),
    (
        [user(), user(id=8, username="ada", email="Eva@Example.com")],
        "entry 2: rejected: email: is also that of entry 1",
    ),
    ([user(username="Root", id=9)], "username: a user with it exists already"),
    ([user(email="ROOT@example.com", id=9)], "email: a user with it exists already"),
    ([user(id=1)], "id: a user with 1 exists already"),
    ([user(id=2)], "id: 2 was a deleted user's; ids are not used again"),
    ([user(**{"\x1b]0;evil\x07": 1})], r'unknown field "\u001b]0;evil\u0007"'),
    ([{"model": "users.user", "pk": 3, "fields": {"\x1b": 1}}], r"unknown field \x1b"),
    ([{"model": "users.group", "pk": 3, "fields": {}}], 'expected "users.user", "users.deletion"'),
]


@pytest.mark.parametrize(("values", "why"), REJECTED)
def test_one_rejected_entry_keeps_all_out_unless_told_to_go_on(values, why, make, admin, tmp_path, capsys):
    services.user_delete(user_id=make("gone").pk, actor=admin.pk)
    before = everything()
    path = written(tmp_path, *values, user(id=20, username="good", email="good@example.com"))
    with pytest.raises(CommandError, match=r"Nothing was imported; 1 entries were rejected; \d users could be"):
        run("import_users", path)
    assert why in (said := capsys.readouterr().err)
    assert "\x1b" not in said
    assert everything() == before
    run("import_users", path, keep_going=True)
    assert f"Imported {len(values)} users; 1 entries were rejected." in capsys.readouterr().out
    users, deletions = everything()
    assert (len(users), deletions) == (1 + len(values), before[1])
    assert "good" in {row["username"] for row in users}


def test_all_that_an_entry_has_of_others_is_said_at_once_in_the_order_of_the_file(admin, tmp_path, capsys):
    path = written(
        tmp_path,
        user(id=1, username="ROOT"),
        user(id=8, username="a b", email="b@example.com"),
        user(id=9, username="eva"),
        user(id=9, username="EVA", email="d@example.com"),
    )
    run("import_users", path, keep_going=True)
    said = capsys.readouterr()
    assert said.err.splitlines()[:3] == [
        "entry 1: rejected: id: a user with 1 exists already; username: a user with it exists already",
        "entry 2: rejected: username: Expected only ASCII letters, digits and @ . + - _",
        "entry 4: rejected: id: 9 is also that of entry 3; username: is also that of entry 3, in any case",
    ]
    # The email of the first was not taken from the third.
    assert said.out.startswith("Imported 1 users; 3 entries were rejected.")


def test_created_by_is_a_user_of_the_same_import_or_nobody(admin, tmp_path, capsys):
    """The ids of a file are those of where it comes from: that of a user here is somebody else's."""
    path = written(
        tmp_path,
        user(id=5, created_by=6),
        user(id=6, username="a", email="a@example.com", created_by="EVA"),
        user(id=8, username="b", email="b@example.com", created_by=999),
        user(id=9, username="c", email="c@example.com", created_by=admin.pk),
        user(id=None, username="d", email="d@example.com", created_by=["a"]),
    )
    run("import_users", path)
    assert dict(User.objects.values_list("username", "created_by")) == {
        "root": None, "Eva": 6, "a": 5, "b": None, "c": None, "d": None
    }  # fmt: skip
    assert capsys.readouterr().err.splitlines() == [
        f"entry {number}: created_by: is nobody who is imported too, and was left out" for number in (3, 4, 5)
    ]


@pytest.mark.parametrize("creator", [1, "root"])
def test_who_was_made_by_a_rejected_user_was_not_made_by_their_namesake_here(admin, tmp_path, capsys, creator):
    assert admin.pk == 1
    bob = user(id=20, username="bob", email="bob@example.com", created_by=creator)
    run("import_users", written(tmp_path, user(id=1, username="root"), bob), keep_going=True)
    assert User.objects.get(username="bob").created_by is None
    assert "entry 2: created_by: is nobody who is imported too" in capsys.readouterr().err


def test_who_has_no_id_gets_one_after_all_others(make, tmp_path):
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


def test_after_the_largest_numbers_of_an_import_there_are_others(tmp_path, admin, make):
    most = lines.IMPORTABLE
    run("import_users", written(tmp_path, user(id=most, session_epoch=most)))
    services.user_update(user_id=most, actor=admin.pk, is_active=False)
    assert make("c").pk == most + 1
    services.user_delete(user_id=most, actor=admin.pk)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.json", b"{}", "expected an array of users"),
        ("x.json", b"[\n{]", "line 2: expected JSON"),
        ("x.json", b"[" * 100_000, "nested less deeply"),
        ("x.json", b'[\n\n"\xe9"]', "line 3: expected text in UTF-8"),
        ("x.json", "[]".encode("utf-16"), "line 1: expected text in UTF-8, got UTF-16"),
        ("x.jsonl", "[]".encode("utf-16"), "line 1: expected text in UTF-8, got UTF-16"),
        ("x.csv", "username".encode("utf-16"), "line 1: expected text in UTF-8, got UTF-16"),
        ("x.json", gzip.compress(b"[]"), "expected text in UTF-8, got a gzip archive: `gunzip` makes it"),
        ("x.csv", gzip.compress(b"username"), "expected text in UTF-8, got a gzip archive"),
        ("x.jsonl", gzip.compress(b"{}"), "expected text in UTF-8, got a gzip archive"),
        ("x.csv", b"PK\x03\x04", "got a zip archive, as a spreadsheet is one: save it as CSV"),
        ("x.json", b'["', "line 1: expected JSON: Unterminated string starting. "),
        ("x.csv", b"username,full_name\neva,Ev\xe4\n", "line 2: expected text in UTF-8"),
        ("x.csv", b"a,a,username\n", "line 1: expected a header that names each column once.*got 'a' more than once"),
        ("x.csv", b"", "line 1: expected a header.*username is not"),
        ("x.csv", b"username;email\n", "line 1: expected columns that are separated by commas, got semicolons"),
        ("x.csv", b"username\temail\n", "line 1: expected columns that are separated by commas, got tabs"),
        ("x.csv", b"Username,email\n", "line 1: expected the column username, in small letters, got 'Username'"),
        ("x.csv", b"username, EMAIL\n", "line 1: expected the column email, in small letters, got ' EMAIL'"),
        ("x.csv", b'username\n"x', "line 2: "),
        ("x.csv", b"username\n" + b"x" * 200_000, "field larger than field limit"),
        ("x.txt", b"[]", "expected a name that ends with"),
        ("missing.json", None, "No such file"),
    ],
)
def test_a_file_that_is_not_of_its_format_is_refused_as_a_whole(tmp_path, name, content, why):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError, match=rf"{name}: .*{why}.*Nothing was imported"):
        run("import_users", tmp_path / name)
    assert everything() == [[], []]


@pytest.mark.parametrize(
    ("written_as", "is_active"),
    [("1", True), ("0", False), ("t", True), ("f", False), ("True", True), ("FALSE", False), ("", True)],
)
def test_a_csv_says_whole_numbers_and_booleans_as_databases_and_data_frames_write_them(tmp_path, written_as, is_active):
    """PostgreSQL writes `t`, SQLite `1`; a data frame's column of numbers with a gap has fractions."""
    rows = f"id,username,email,hashed_password,is_active,created_by\n7.0,eva,e@example.com,{BCRYPT},{written_as},7.0\n"
    (tmp_path / "x.csv").write_text(rows)
    run("import_users", tmp_path / "x.csv")
    assert list(User.objects.values_list("pk", "is_active", "created_by")) == [(7, is_active, 7)]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("id", "7.5", "id: expected a whole number"),
        ("id", "7.", "id: expected a whole number"),
        ("id", "7e0", "id: expected a whole number"),
        ("is_active", "2", "is_active: expected true or false"),
        ("is_active", "yes", "is_active: expected true or false"),
    ],
)
def test_what_is_neither_in_a_csv_is_rejected(tmp_path, capsys, column, value, expected):
    rows = f"username,email,hashed_password,{column}\neva,e@example.com,{BCRYPT},{value}\n"
    (tmp_path / "x.csv").write_text(rows)
    with pytest.raises(CommandError, match="Nothing was imported"):
        run("import_users", tmp_path / "x.csv")
    assert f"line 2: rejected: {expected}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "twice",
    [
        '{"id": 1, "id": 2, "username": "a"}',
        '{"model": "users.user", "pk": 1, "fields": {"email": "a", "id": 7, "id": 7}}',
        '{"model": "users.userchange", "pk": 1, "fields": {"values": {"email": [[{"id": 7, "id": 7}], "b"]}}}',
    ],
)
@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_what_says_the_same_twice_is_rejected(tmp_path, capsys, twice, name):
    good = json.dumps(user())
    (tmp_path / name).write_text(f"[{twice},\n{good}]" if name == "x.json" else f"{twice}\n{good}")
    run("import_users", tmp_path / name, keep_going=True)
    place = "entry 1" if name == "x.json" else "line 1"
    assert f'{place}: rejected: "id" is there more than once\n' in capsys.readouterr().err
    assert [row["username"] for row in everything()[0]] == ["Eva"]


def test_lines_and_rows_that_cannot_be_read_are_rejected_with_their_numbers(tmp_path, capsys):
    good = json.dumps(user()).encode()
    (tmp_path / "x.jsonl").write_bytes(b"\n\xff\n{\n" + b"[" * 100_000 + b"\n" + good + b"\n")
    run("import_users", tmp_path / "x.jsonl", keep_going=True)
    rejected = [line.split(": ")[0] for line in capsys.readouterr().err.splitlines() if "rejected" in line]
    assert rejected == ["line 2", "line 3", "line 4"]
    (tmp_path / "x.csv").write_text(
        'username,email,hashed_password,id\na,a@example.com\n\nb,b@example.com,!,x\n"c\n",,,\n'
    )
    run("import_users", tmp_path / "x.csv", keep_going=True)
    rejected = [line.split(": ")[0] for line in capsys.readouterr().err.splitlines() if "rejected" in line]
    assert rejected == ["line 2", "line 4", "line 6"]
    assert everything()[0][0]["username"] == "Eva"


def test_an_import_that_another_writer_came_before_writes_nothing(old, make, monkeypatch):
    """The other one writes between the check and the writer's turn."""
    write = imports.write

    def late(*arguments: object) -> int:
        make("EVA")
        return write(*arguments)

    monkeypatch.setattr(imports, "write", late)
    with pytest.raises(CommandError, match="Another user was made meanwhile"):
        run("import_users", old)
    assert [row["username"] for row in everything()[0]] == ["EVA"]


@pytest.mark.parametrize("imported", ["user", "deletion"])
@pytest.mark.parametrize("meanwhile", ["made", "made and deleted"])
def test_an_id_that_was_given_since_the_check_is_not_given_again(
    tmp_path, make, admin, monkeypatch, imported, meanwhile
):
    write = imports.write
    before: list[object] = []

    def late(*arguments: object) -> int:
        other = make("kim")
        if meanwhile == "made and deleted":
            services.user_delete(user_id=other.pk, actor=admin.pk)
        before.append(everything())
        return write(*arguments)

    if imported == "user":
        file = written(tmp_path, user(id=2))
    else:
        file = tmp_path / "x.jsonl"
        file.write_text(json.dumps(deletion(2)) + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(imports, "write", late)
        with pytest.raises(CommandError, match="Another user was made meanwhile"):
            run("import_users", file)
    assert [everything()] == before
    make("ada")


def test_progress_is_said(tmp_path, capsys):
    many = [user(id=number, username=f"u{number}", email=f"u{number}@example.com") for number in range(1, 10_002)]
    run("import_users", written(tmp_path, *many), dry_run=True)
    assert capsys.readouterr().err == "10000 entries read\n"


# Export


@pytest.fixture
def varied(make, admin) -> list[object]:
    """Users of every kind, and what is stored of them."""
    make("eva", full_name='=HYPERLINK("http://x","Ö, y")', created_by=admin.pk)
    make("off", is_active=False, full_name=" spaces ")
    services.user_update(user_id=2, actor=admin.pk, password="another horse 2")
    User.objects.create(username="none", email="none@example.com", password="!x")
    User.objects.create(username="old", email="old@example.com", password=passwords.imported(BCRYPT))
    return everything()


def emptied(state: Path) -> None:
    """Begin anew, without users."""
    if ON_POSTGRESQL:
        empty_tables()
        return
    connection.close()
    for path in state.glob("*"):
        path.unlink()
    journal.journal_at.cache_clear()
    journal.open_record()


@pytest.mark.parametrize("file_format", exports.FORMATS)
def test_what_is_exported_is_imported_as_it_was(file_format, varied, record, state, tmp_path, capsys):
    path = tmp_path / f"out.{file_format}"
    run("export_users", path)
    assert capsys.readouterr().out.startswith("Wrote 5 users. ")
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part"))
    emptied(state)
    run("import_users", path)
    assert capsys.readouterr().err == ""
    users, _ = everything()
    for row in (*users, *varied[0]):
        row.pop("sessions_ended_seq")
        row["password"] = "!" if row["password"].startswith("!") else row["password"]
    assert users == varied[0]
    assert verification.verify(journal.current()).differences == []
    assert services.user_create(username="next", email="next@example.com", password=PASSWORD).pk == 6


def test_an_export_has_hashes_as_other_programs_read_them(varied, tmp_path):
    run("export_users", tmp_path / "out", format="csv")
    with (tmp_path / "out").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["hashed_password"].split("$")[1:2] for row in rows] == [["argon2id"]] * 3 + [[], ["2b"]]
    assert rows[1]["full_name"] == '=HYPERLINK("http://x","Ö, y")'
    assert tuple(rows[0]) == exports.COLUMNS


@pytest.mark.parametrize("file_format", exports.FORMATS)
def test_an_export_of_nobody_is_an_import_of_nobody(file_format, state, tmp_path):
    run("export_users", tmp_path / f"x.{file_format}")
    run("import_users", tmp_path / f"x.{file_format}")
    assert everything() == [[], []]


def test_an_export_writes_over_nothing_and_leaves_nothing_half_written(make, tmp_path, monkeypatch):
    make("eva")
    path = tmp_path / "x.json"
    path.write_text("mine")
    with pytest.raises(CommandError, match="exists"):
        run("export_users", path)
    assert path.read_text() == "mine"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(CommandError, match="exists"):
        run("export_users", path)
    path.unlink()
    with pytest.raises(CommandError, match="expected a folder that is there"):
        run("export_users", tmp_path / "missing" / "x.json")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CommandError, match="No space left"):
        run("export_users", path)
    assert not list(tmp_path.glob("x.json*"))


def test_a_file_that_is_made_while_an_export_is_written_is_not_written_over(make, tmp_path, monkeypatch):
    make("eva")
    path, fsync = tmp_path / "x.json", os.fsync

    def and_before(descriptor: int) -> None:
        path.write_text("mine")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", and_before)
    with pytest.raises(CommandError, match=r"x\.json was made meanwhile"):
        run("export_users", path)
    assert path.read_text() == "mine"
    assert list(tmp_path.glob("x.json*")) == [path]


def test_an_export_that_was_killed_is_in_no_other_s_way(make, state, run_killed, tmp_path):
    make("eva")
    path = tmp_path / "x.json"
    run_killed(path)
    assert len(list(tmp_path.glob("x.json.*.part"))) == 1
    assert not path.exists()
    run("export_users", path)
    assert json.loads(path.read_text())[0]["username"] == "eva"


# Ids that were given before, to users who were deleted


@pytest.mark.parametrize("file_format", exports.FORMATS)
def test_nobody_gets_a_deleted_user_s_id_after_a_move(file_format, varied, admin, state, tmp_path, capsys):
    services.user_delete(user_id=5, actor=admin.pk)
    path = tmp_path / f"out.{file_format}"
    run("export_users", path)
    out = capsys.readouterr().out
    assert "neither histories nor whose ids were deleted: import it with --next-id 6, or" in out
    assert ("users.jsonl has both" in out) == (not ON_POSTGRESQL)
    emptied(state)
    run("import_users", path, next_id=6)
    out = capsys.readouterr().out
    assert "The next new user is 6.\n" in out
    assert "Such a file" not in out
    assert services.user_create(username="next", email="next@example.com", password=PASSWORD).pk == 6
    if not ON_POSTGRESQL:
        assert verification.verify(journal.current()).differences == []


def test_what_an_import_does_not_say_is_said_and_can_be_said_later(old, tmp_path, capsys):
    run("import_users", old)
    assert "If 8 or a later one was somebody's where it comes from" in capsys.readouterr().out
    run("import_users", next_id=20)
    assert capsys.readouterr().out == "The next new user is 20.\n"
    run("import_users", next_id=9)
    assert capsys.readouterr().out == "The next new user is 20.\n"
    path = written(tmp_path, user(id=None, username="a", email="a@example.com"), name="more.json")
    run("import_users", path, next_id=30)
    assert capsys.readouterr().out == "Imported 1 users. The next new user is 31.\n"
    assert User.objects.get(username="a").pk == 30
    assert Deletion.objects.count() == 1


@pytest.mark.record
def test_after_the_largest_id_there_is_no_next_one_to_name(record, old, capsys):
    line = {"model": "users.deletion", "pk": lines.LARGEST, "fields": {"deleted_at": "2026-01-01T00:00:00Z"}}
    record.write_text(json.dumps(line) + "\n")
    journal.catch_up()
    run("import_users", next_id=20)
    assert capsys.readouterr().out == f"No new user can be made: {lines.LARGEST} is in use.\n"
    run("import_users", old)
    out = capsys.readouterr().out
    assert out.endswith(f"Imported 2 users. No new user can be made: {lines.LARGEST} is in use.\n")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "Expected a file, or --next-id."),
        ({"next_id": 0}, "Expected --next-id from 1 to 4503599627370495."),
        ({"next_id": 2**52}, "Expected --next-id from 1"),
    ],
)
def test_a_next_id_that_cannot_be_is_refused(state, options, why):
    with pytest.raises(CommandError, match=why):
        run("import_users", **options)
    assert everything() == [[], []]


# What the documentation shows


def test_the_example_of_the_documentation_is_imported_into_a_started_stack(make, tmp_path, capsys):
    text = (PROJECT.parent / "docs" / "operations.md").read_text()
    example = re.search(r"```json\n(\[\n.*?\n\])\n```", text, re.DOTALL)[1]
    make("admin", user_type="admin")
    make("user")
    (tmp_path / "old.json").write_text(example)
    run("import_users", tmp_path / "old.json")
    assert capsys.readouterr().err == ""
    assert User.objects.get(username="eva").check_password("secret")


def test_a_record_is_moved_with_its_deletions_and_ended_sessions(varied, admin, record, state, tmp_path, capsys):
    services.user_delete(user_id=3, actor=admin.pk)
    before, histories = everything(), list(UserChange.objects.values())
    assert len(histories) > 1
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(record.read_bytes())
    emptied(state)
    run("import_users", moved)
    assert "Imported 4 users and 1 deletions." in capsys.readouterr().out
    after = everything()
    assert list(UserChange.objects.values()) == histories
    for row in before[0]:
        row["password"] = "!" if row["password"].startswith("!") else row["password"]
    assert after == before
    with pytest.raises(CommandError):
        run("import_users", moved)


def test_a_line_after_the_deletion_of_its_user_is_rejected(make, admin, record, tmp_path, capsys):
    services.user_delete(user_id=make("eva").pk, actor=admin.pk)
    lines = record.read_text().splitlines(keepends=True)
    moved = tmp_path / "moved.jsonl"
    lines = [line for line in lines if "users.userchange" not in line]
    moved.write_text(lines[1] + lines[2] + lines[1])
    plan = imports.plan(entries.read(moved, "jsonl"), lambda count: None)
    assert ("line 3", "user 2 was deleted before, at line 2") in plan.rejected
    assert not plan.users


# verify_users, compact_users


def test_verification_finds_what_is_different_and_changes_nothing(varied, admin, manage, record):
    services.user_delete(user_id=3, actor=admin.pk)
    good = manage("verify_users")
    lines = len(record.read_text().splitlines())
    assert (good.returncode, good.stderr) == (0, "")
    assert f"{record}: {lines} lines, 4 users, 1 deletions; the index says the same." in good.stdout
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users_user SET full_name = 'x', is_active = 0 WHERE id = 1")
        cursor.execute("DELETE FROM users_user WHERE id = 2")
        cursor.execute("UPDATE users_deletion SET user_id = 9")
        cursor.execute("UPDATE users_position SET live = 99")
        cursor.execute("UPDATE users_userchange SET by = 9 WHERE action = 'deleted'")
    histories = UserChange.objects.values_list("pk", flat=True)
    before = record.read_bytes()
    for _ in range(2):
        bad = manage("verify_users")
        assert bad.returncode == 1
        assert bad.stderr.splitlines()[:-1] == [
            "user 1: full_name, is_active not the same in the index",
            "user 2: in the file, not in the index",
            "deletion 3: in the file, not in the index",
            "deletion 9: in the index, not in the file",
            f"history {max(histories)}: by not the same in the index",
            "the index counts other lines than the file has",
        ]
        assert "6 differences" in bad.stderr
    assert record.read_bytes() == before


def test_verification_of_nobody_and_of_what_cannot_be_read(record, make, capsys):
    run("verify_users")
    assert "0 lines, 0 users" in capsys.readouterr().out
    make("eva")
    record.write_text("nonsense\n")
    with pytest.raises(CommandError, match=r"users.jsonl:1: expected JSON"):
        run("verify_users")


def test_compaction_by_command(make, admin, manage, record):
    for number in range(5):
        services.user_update(user_id=admin.pk, actor=admin.pk, full_name=f"Name {number}")
    before = everything()
    done = manage("compact_users")
    assert done.returncode == 0, done.stderr
    assert f"{record}: from 12 lines and " in done.stdout
    assert len(record.read_text().splitlines()) == 1 + 6
    assert everything() == before
    assert make("eva").pk == 2
    run("verify_users")


def test_there_is_nothing_to_compact_of_nobody(record, capsys):
    run("compact_users")
    assert "from 0 lines and 0 bytes to 0 and 0." in capsys.readouterr().out
    assert not record.exists()


def test_a_compaction_that_cannot_be_made_says_why(admin, record):
    with journal.current().lock.held(), pytest.raises(RuntimeError):
        run("compact_users")
    (record.parent / "users.new").mkdir()
    with pytest.raises(CommandError, match=r"Is a directory.*It is as it was"):
        run("compact_users")


def test_a_compaction_is_not_made_where_the_index_is_locked(admin, record, manage):
    services.user_update(user_id=admin.pk, actor=admin.pk, full_name="Name")
    before = record.read_bytes()
    with transaction.atomic():
        refused = manage("compact_users")
    assert f"{record}: cannot be compacted: " in refused.stderr
    assert refused.stderr.endswith("It is as it was.\n")
    assert record.read_bytes() == before


@pytest.mark.parametrize(("module", "name"), [(index, "save_position"), (records, "sync_directory")])
def test_a_compaction_that_the_index_cannot_be_told_is_one(admin, record, monkeypatch, capsys, caplog, module, name):
    services.user_update(user_id=admin.pk, actor=admin.pk, full_name="Name")
    before = everything()

    def fail(*args: object, **kwargs: object) -> None:
        raise OperationalError("disk I/O error") if module is index else OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        run("compact_users")
    assert f"{record}: from 4 lines and " in capsys.readouterr().out
    assert f"{record}: compacted from 4 lines to 3, and that is not noted: " in caplog.text
    assert len(record.read_text().splitlines()) == 3
    assert everything() == before
    run("verify_users")


def test_the_umask_makes_no_export_readable(manage, make, tmp_path):
    make("eva")
    before = os.umask(0)
    try:
        done: subprocess.CompletedProcess[str] = manage("export_users", str(tmp_path / "x.jsonl"))
    finally:
        os.umask(before)
    assert done.returncode == 0
    assert (tmp_path / "x.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.postgresql
@pytest.mark.parametrize("command", ["verify_users", "compact_users"])
def test_on_postgresql_there_is_no_file_to_look_at(command, state):
    with pytest.raises(CommandError, match="The users are in PostgreSQL"):
        run(command)


@pytest.mark.postgresql
def test_a_record_is_moved_into_postgresql(state, tmp_path):
    fields = {"username": "eva", "email": "eva@example.com", "password": f"argon2{ARGON2ID}"}
    times = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00.5Z")
    lines = [
        {"model": "users.user", "pk": 4, "fields": fields | times | {"session_epoch": 3, "sessions_ended_seq": 7}},
        {"model": "users.deletion", "pk": 9, "fields": {"deleted_at": "2026-01-01T00:00:00Z"}},
    ]
    told = {"action": "changed", "at": "2026-01-01T00:00:00Z", "by": 4, "values": {"full_name": ["", "Eva"]}}
    lines += [{"model": "users.userchange", "pk": pk, "fields": told | {"user_id": pk}} for pk in (4, 5)]
    (tmp_path / "users.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run("import_users", tmp_path / "users.jsonl")
    eva = User.objects.get()
    assert (eva.pk, eva.session_epoch, eva.sessions_ended_seq) == (4, 3, 7)
    assert [(change.user_id, change.values) for change in UserChange.objects.all()] == [(4, {"full_name": ["", "Eva"]})]
    assert services.user_create(username="ada", email="ada@example.com", password=PASSWORD).pk == 10
