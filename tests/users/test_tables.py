"""What is PostgreSQL's own. What the users service does is the same there: every other test runs on it too."""

import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, close_old_connections, connection, transaction
from django.db.models import QuerySet

from users import services, store
from users.models import Position, User
from users.store import writer

from .test_api import NEW, assert_problem

pytestmark = pytest.mark.postgresql


def test_the_database_itself_takes_no_name_and_no_email_twice(make):
    user = make("eva")
    for values in ({"username": "EVA", "email": "x@example.com"}, {"username": "x", "email": "Eva@Example.com"}):
        row = User(pk=9, created_at=user.created_at, updated_at=user.updated_at, **values)
        with pytest.raises(IntegrityError):
            QuerySet(User).bulk_create([row])


def test_a_writer_waits_for_its_turn_with_a_bound(as_admin, make, monkeypatch):
    monkeypatch.setattr(writer, "TIMEOUT", 0.1)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with store.writing():
                held.set()
                release.wait(30)
        finally:
            connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    response = as_admin("POST", "/api/users", NEW)
    release.set()
    holder.join(30)
    assert_problem(response, 503)
    assert "did not respond in time" in response.json()["detail"]
    assert as_admin("POST", "/api/users", NEW).status_code == 201


@pytest.mark.parametrize(("code", "status"), [("53100", 507), ("57P03", 503)])
def test_what_cannot_be_stored_is_a_problem_and_stores_nothing(as_admin, make, everything, code, status):
    make("eva")
    before = everything()
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger AS "
            f"$$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$ LANGUAGE plpgsql; "
            "CREATE TRIGGER refuse BEFORE INSERT ON users_user EXECUTE FUNCTION refuse()"
        )
    try:
        assert_problem(as_admin("POST", "/api/users", NEW), status)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse ON users_user; DROP FUNCTION refuse()")
    assert everything() == before


def test_a_write_inside_of_a_transaction_is_refused(make):
    with pytest.raises(RuntimeError, match="inside of a transaction"), transaction.atomic():
        make("eva")
    assert not User.objects.exists()


def test_a_database_that_was_not_migrated_ends_a_start(state):
    store.current().open()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'users'")
        with pytest.raises(ImproperlyConfigured, match=r"[Rr]un `manage\.py migrate`"):
            store.current().open()
        transaction.set_rollback(True)


def test_there_is_one_turn_however_many_begin(state):
    assert not Position.objects.exists()
    generations = set()
    for name in ("eva", "ada"):
        services.user_create(username=name, email=f"{name}@example.com", password="p")
        generations.add(Position.objects.get().generation)
    assert len(generations) == 1


def test_a_connection_that_broke_is_replaced_for_the_next_request(as_admin, admin):
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    close_old_connections()  # as at each request's beginning, but for those of the test client
    assert as_admin("GET", f"/api/users/{admin.pk}").status_code == 200
