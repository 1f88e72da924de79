import json

import pytest
from django.core.management import call_command
from django.db import connection

from users import journal
from users.apps import record_check
from users.lines import LARGEST
from users.models import User

from .conftest import PASSWORD, stored

MEND = "Mend that line, or put the file back as it was."

SECRET = {"GATEHOUSE_ENV": "production", "USERS_SECRET_KEY": "x" * 50}


def users() -> dict[str, str]:
    journal.catch_up()
    return dict(User.objects.order_by("id").values_list("username", "user_type"))


def test_demo_users_are_made_once(manage, state):
    first, second = manage("demo_users"), manage("demo_users")
    assert first.returncode == second.returncode == 0, first.stderr
    assert "Made the demo users" in first.stdout
    assert "There are users already" in second.stdout
    assert users() == {"admin": "admin", "user": "default"}
    admin, user = User.objects.order_by("id")
    assert admin.check_password("a")
    assert user.check_password("u")
    assert (admin.email, user.email) == ("admin@example.com", "user@example.com")


def test_no_demo_users_are_made_in_production_but_a_superuser_can_be(manage, record):
    refused = manage("demo_users", **SECRET)
    assert refused.returncode == 0
    assert "no demo users" in refused.stdout
    assert users() == {}
    arguments = ("createsuperuser", "--noinput", "--username", "boss", "--email", "boss@example.com")
    made = manage(*arguments, DJANGO_SUPERUSER_PASSWORD="correct horse 1", **SECRET)
    assert made.returncode == 0, made.stderr
    assert users() == {"boss": "admin"}
    assert User.objects.get().check_password("correct horse 1")
    assert len(stored(record)) == 1
    again = manage(*arguments, DJANGO_SUPERUSER_PASSWORD="correct horse 1", **SECRET)
    assert again.returncode == 1
    assert "A user of this name exists already." in again.stderr
    assert "Traceback" not in again.stderr


def test_production_does_not_start_with_the_default_secret(manage):
    refused = manage("check", GATEHOUSE_ENV="production")
    assert refused.returncode != 0
    assert "USERS_SECRET_KEY: expected a secret of your own" in refused.stderr


@pytest.mark.parametrize("command", ["check", "demo_users"])
def test_a_record_that_cannot_be_read_ends_a_start_with_file_and_line(make, manage, record, command):
    make("eva")
    record.write_text(record.read_text() + "nonsense\n")
    refused = manage(command)
    assert refused.returncode == 1
    assert f"{record}:2: expected JSON" in refused.stderr


@pytest.mark.parametrize("command", ["check", "verify_users"])
@pytest.mark.parametrize("number", [2**53, 2**63 - 1, 2**63, 10**30])
def test_an_id_that_is_too_large_ends_a_start_with_file_and_line(make, manage, record, command, number):
    make("eva")
    line = stored(record)[0]
    line["fields"] |= {"username": "ada", "email": "ada@example.com"}
    before = record.read_text() + json.dumps(line | {"pk": number}) + "\n"
    record.write_text(before)
    refused = manage(command)
    assert refused.returncode == 1
    assert f'{record}:2: expected a whole number from 1 to 9007199254740991 as "pk"' in refused.stderr
    assert record.read_text() == before


@pytest.mark.record
def test_check_makes_the_index_of_a_fresh_start(manage, state):
    for path in state.iterdir():
        path.unlink()
    done = manage("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert (state / "index.sqlite3").exists()


def test_the_migrations_are_those_of_the_models(manage):
    assert manage("makemigrations", "--check", "--dry-run").returncode == 0


def test_demo_users_are_made_where_there_are_none(state, capsys):
    for said in ("Made the demo users", "There are users already"):
        call_command("demo_users", skip_checks=True)
        assert said in capsys.readouterr().out
    assert users() == {"admin": "admin", "user": "default"}


def test_the_check_reports_a_record_that_cannot_be_read(make, record):
    assert record_check(None) == []
    make("eva")
    record.write_text("nonsense\n")
    assert [(error.id, str(error.msg)) for error in record_check(None)] == [
        ("users.E001", f"{record}:1: expected JSON: Expecting value, at character 1. {MEND}")
    ]


def damage(path, first: int, last: int) -> None:
    """Turn the bits of these bytes of the file, counted from its end where they are negative."""
    connection.close()
    content = bytearray(path.read_bytes())
    for place in range(len(content))[first:last]:
        content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.record
@pytest.mark.parametrize(
    ("first", "last", "commands"),
    [
        (0, 100, ["migrate", "migrate", "migrate", "check", "verify_users"]),
        (4096, None, ["check", "verify_users"]),
    ],
    ids=["head", "all but the first page"],
)
def test_a_damaged_index_ends_a_command_with_what_to_do_about_it(make, manage, state, first, last, commands):
    """Also where Django's own checks, whose order differs, meet it before the record is opened."""
    make("eva")
    damage(state / "index.sqlite3", first, last)
    before = (state / "index.sqlite3").read_bytes()
    for command in commands:
        refused = manage(command)
        assert refused.returncode == 1
        assert f"{state / 'index.sqlite3'}: The index is damaged (" in refused.stderr
        assert f"it makes the index of {state / 'users.jsonl'}. If that is as the service last wrote" in refused.stderr
        assert "Restoring users" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert (state / "index.sqlite3").read_bytes() == before


@pytest.mark.record
def test_a_damaged_page_of_users_ends_a_verification_with_what_to_do_about_it(make, manage, state):
    make("eva")
    with connection.cursor() as cursor:
        cursor.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'users_user'")
        page = cursor.fetchone()[0]
    damage(state / "index.sqlite3", (page - 1) * 4096, page * 4096)
    refused = manage("verify_users")
    assert refused.returncode == 1
    assert f"{state / 'index.sqlite3'}: The index is damaged (" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_export_into_a_missing_folder_names_what_was_typed(make, manage, tmp_path):
    make("eva")
    refused = manage("export_users", str(tmp_path / "nowhere" / "users.json"))
    assert refused.returncode == 1
    assert f"{tmp_path / 'nowhere' / 'users.json'}: expected a folder that is there" in refused.stderr
    assert ".part" not in refused.stderr


SUPERUSER = ("createsuperuser", "--noinput", "--username", "boss", "--email", "boss@example.com")


@pytest.mark.parametrize("command", [("demo_users",), SUPERUSER])
def test_what_keeps_a_user_from_being_made_ends_a_command_with_a_message(manage, record, command):
    """A directory is in the way, or a deletion has the last number."""
    (record.parent / "users.batch").mkdir()
    refused = manage(*command, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
    assert refused.returncode == 1
    assert refused.stderr.endswith("Something that this service needs is away. Try again.\n")
    assert f"{record}: cannot append: [Errno 21] Is a directory" in refused.stderr
    assert "Traceback" not in refused.stderr
    (record.parent / "users.batch").rmdir()
    line = {"model": "users.deletion", "pk": LARGEST, "fields": {"deleted_at": "2026-01-01T00:00:00Z"}}
    record.write_text(json.dumps(line) + "\n")
    refused = manage(*command, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
    assert refused.returncode == 1
    assert refused.stderr == f"Nothing can be numbered after {LARGEST}, which is in use. Nothing was changed.\n"


@pytest.mark.record
def test_an_index_that_cannot_be_opened_ends_a_command_with_its_name(make, manage, state):
    make("eva")
    connection.close()
    for path in state.glob("index.sqlite3*"):
        path.unlink()
    (state / "index.sqlite3").mkdir()
    for command in ("verify_users", "check", "demo_users", "migrate"):
        refused = manage(command)
        assert refused.returncode == 1
        assert f"{state / 'index.sqlite3'}: unable to open database file" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.postgresql
def test_a_database_that_is_away_ends_a_command_with_what_it_says(manage):
    refused = manage("demo_users", USERS_DATABASE_URL="postgres://eva:hunter2@127.0.0.1:1/users")
    assert refused.returncode == 1
    assert "connection to server at" in refused.stderr
    assert "hunter2" not in refused.stderr
    assert "Traceback" not in refused.stderr
