from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.test import Client, RequestFactory

from chassis.databases import StorageFull
from chassis.problems import Unavailable
from users import index, journal, selectors
from users.freshness import Freshness
from users.models import User
from users.passwords import Busy

from .conftest import PASSWORD
from .test_api import assert_problem


@pytest.mark.parametrize("path", ["/api/users", "/api/users/me", "/healthz", "/nowhere"])
def test_a_record_that_cannot_be_read_is_503_until_it_is_mended(as_admin, make, record, path):
    make("eva")
    whole = record.read_text()
    record.write_text("nonsense\n" + whole)
    response = as_admin("GET", path)
    assert_problem(response, 503)
    assert "users.jsonl" not in response.content.decode()
    assert "nonsense" not in response.content.decode()
    assert as_admin("POST", "/api/users", {}).status_code == 503
    record.write_text(whole)
    assert as_admin("GET", "/api/users").status_code == 200


def test_an_edit_by_hand_is_in_the_next_answer(as_admin, make, record):
    make("eva")
    record.write_text(record.read_text().replace("eva@example.com", "eva@example.org"))
    assert as_admin("GET", "/api/users?search=example.org").json()["results"][0]["username"] == "eva"


def test_an_index_that_is_deleted_is_made_again_for_the_next_answer(as_admin, make, state):
    make("eva")
    for path in state.glob("index.sqlite3*"):
        path.unlink()
    assert as_admin("GET", "/api/users?search=eva").json()["results"][0]["username"] == "eva"


def test_a_database_that_cannot_be_used_under_a_request_is_503(as_admin, monkeypatch, caplog):
    def locked(**kwargs: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(selectors, "users", locked)
    assert_problem(as_admin("GET", "/api/users"), 503)
    assert "database is locked" in caplog.text


def test_a_database_that_cannot_be_used_before_a_request_is_503(monkeypatch):
    def locked() -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(journal, "catch_up", locked)
    assert_problem(Client().get("/healthz"), 503)


@pytest.mark.parametrize(("error", "status"), [(Busy(), 503), (Unavailable(), 503), (StorageFull(), 507)])
def test_a_write_that_a_page_of_the_admin_could_not_make_is_a_problem(error, status):
    middleware = Freshness(lambda request: pytest.fail("not asked"))
    answer = middleware.process_exception(RequestFactory().post("/admin/"), error)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert answer.get("Retry-After") == ("1" if status == 503 else "60")


@pytest.mark.parametrize("error", [DatabaseError("x"), ValueError("x")])
def test_other_faults_are_not_the_indexes(error):
    middleware = Freshness(lambda request: pytest.fail("not asked"))
    assert middleware.process_exception(RequestFactory().get("/"), error) is None


def test_no_password_is_in_the_log(as_admin, as_gateway, caplog):
    caplog.set_level("DEBUG")
    as_admin("POST", "/api/users", {"username": "ada", "email": "ada@example.com", "password": PASSWORD})
    as_gateway("POST", "/internal/credentials", {"username": "ada", "password": PASSWORD})
    assert User.objects.filter(username="ada").exists()
    assert "POST" in caplog.text
    assert PASSWORD not in caplog.text
    assert "argon2id" not in caplog.text


@pytest.mark.record
@pytest.mark.parametrize("part", ["head", "users"])
def test_a_damaged_index_is_503_until_it_is_mended(make, as_gateway, state, caplog, part):
    make("eva")
    connection.close()
    file = state / "index.sqlite3"
    older = file.read_bytes()
    make("ada")
    with connection.cursor() as cursor:
        cursor.execute("SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'users_user'")
        pages = [1] if part == "head" else [page for (page,) in cursor.fetchall()]
    assert as_gateway("GET", "/healthz").status_code == 200
    connection.close()  # what it has read is right, and is not read again
    whole = file.read_bytes()
    damaged = bytearray(whole)
    for page in pages:
        damaged[(page - 1) * 4096 : page * 4096] = b"\xaa" * 4096
    file.write_bytes(damaged)
    for path in ("/internal/session-ends", "/healthz", "/internal/session-ends"):
        assert_problem(as_gateway("GET", path), 503)
    assert f"{file}: The index is damaged (" in caplog.text
    file.write_bytes(older)  # whole, but behind the record
    for path in ("/healthz", "/internal/session-ends"):
        assert as_gateway("GET", path).status_code == 200
    assert set(User.objects.values_list("username", flat=True)) == {"eva", "ada"}


@pytest.mark.record
@pytest.mark.parametrize("known", [True, False], ids=["by who had it open", "by an I/O error"])
def test_the_log_of_the_index_can_be_deleted_under_a_service(make, as_admin, state, known):
    """Threads that had it open, those that open it since, and what was written by either."""
    names = [make(f"user{number}").username for number in range(3)]
    deleted, ready = Barrier(2), Barrier(2)

    def other() -> list[int]:
        found = [as_admin("GET", "/api/users").status_code]
        ready.wait(10)
        deleted.wait(10)
        found += [as_admin("GET", "/api/users").status_code for _ in range(3)]
        connection.close()
        return found

    with ThreadPoolExecutor(1) as threads:
        seen = threads.submit(other)
        ready.wait(10)
        if not known:
            connection.close()  # while the other thread has the deleted log open
        for suffix in ("-wal", "-shm"):
            (state / f"index.sqlite3{suffix}").unlink()
        before = index.file_identity()
        answers = [as_admin("GET", "/api/users") for _ in range(3)]
        deleted.wait(10)
        assert seen.result(10) == [200] * 4
    assert [answer.status_code for answer in answers[1:]] == [200, 200]
    assert index.file_identity() != before
    assert answers[0].status_code == (200 if known else 503)
    assert {user["username"] for user in answers[-1].json()["results"]} == {*names, "root"}
    make("last")
    assert not (state / "index.copy").exists()
    assert User.objects.count() == 5
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA integrity_check")
        assert cursor.fetchone() == ("ok",)


@pytest.mark.record
def test_an_index_that_cannot_be_copied_is_used_as_it_is(make, as_admin, state, caplog):
    (state / "index.copy").mkdir()
    index.faults.unreadable = index.file_identity()
    assert as_admin("GET", "/api/users").status_code == 200
    assert "cannot be copied" in caplog.text
    assert index.faults.unreadable is None
