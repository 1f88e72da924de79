import pytest
from django.db import DatabaseError, OperationalError
from django.test import Client, RequestFactory

from users import journal, selectors
from users.freshness import Freshness
from users.models import User
from users.passwords import Busy
from users.problems import Unavailable
from users.record import StorageFull

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
    assert answer.get("Retry-After") == ("1" if status == 503 else None)


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
