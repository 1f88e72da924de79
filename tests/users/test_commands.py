from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from users import services, store
from users.models import User

from .conftest import stored

SECRET = {"GATEHOUSE_ENV": "production", "USERS_SECRET_KEY": "x" * 50}


def printed(*arguments: str) -> str:
    """Return what a command prints in this process."""
    call_command(*arguments, stdout=(out := StringIO()))
    return out.getvalue()


def users() -> dict[str, str]:
    store.current().catch_up()
    return dict(User.objects.order_by("id").values_list("username", "user_type"))


def test_demo_users_are_made_once(manage, state):
    first = manage("demo_users")
    assert first.returncode == 0, first.stderr
    assert "Created the demo users" in first.stdout
    assert "There are users already" in printed("demo_users")
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
    with pytest.raises(CommandError, match="This username is taken"):
        printed(*arguments)


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
    assert f"{record}:2: expected a JSON object" in refused.stderr


@pytest.mark.record
def test_check_makes_the_index_of_a_fresh_start(manage, state):
    for path in state.iterdir():
        path.unlink()
    done = manage("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert (state / "index.sqlite3").exists()


def test_the_migrations_are_those_of_the_models():
    assert printed("makemigrations", "--check", "--dry-run") == "No changes detected\n"


@pytest.mark.record
def test_verification_reads_all_and_rebuilds_the_index(make, manage, record):
    make("eva")
    services.user_delete(user_id=make("gone").pk, actor=1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users_user SET full_name = 'x', is_active = 0")
    assert printed("verify_users") == f"{record}: no fault. Lines: 3, users: 1, deleted users: 1.\n"
    assert users() == {"eva": "default"}
    assert User.objects.get().full_name == ""
    record.write_text(record.read_text() + "nonsense\n")
    failed = manage("verify_users")
    assert failed.returncode == 1
    assert f"{record}:4: expected a JSON object" in failed.stderr


@pytest.mark.record
def test_an_index_that_cannot_be_made_ends_a_command_with_its_name(make, manage, state):
    make("eva")
    connection.close()
    for path in state.glob("index.sqlite3*"):
        path.unlink()
    (state / "index.sqlite3").mkdir()
    refused = manage("check")
    assert refused.returncode == 1
    assert "index.sqlite3" in refused.stderr or "unable to open database file" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.postgresql
def test_a_database_that_is_away_ends_a_command_with_its_error(manage):
    refused = manage("demo_users", USERS_DATABASE_URL="postgres://eva:hunter2@127.0.0.1:1/users")
    assert refused.returncode == 1
    assert "connection to server at" in refused.stderr
    assert "hunter2" not in refused.stderr
    assert "Traceback" not in refused.stderr
