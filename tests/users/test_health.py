"""Health while the store is down, and once it is back."""

import shutil
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client

from chassis.locks import FileLock
from users import store

from .test_api import assert_problem


def test_it_is_healthy(admin):
    assert Client().get("/healthz").json() == {"status": "ok", "service": "users"}


@pytest.mark.parametrize("left", ["no directory", "a file"])
def test_a_record_that_is_away_is_503_until_it_is_back(record, state, tmp_path, admin, as_admin, left):
    client = Client(raise_request_exception=False)
    shutil.copytree(state, tmp_path / "copy")
    shutil.rmtree(state)
    if left == "a file":
        state.write_text("")
    for _ in range(2):
        assert_problem(client.get("/healthz"), 503)
        assert_problem(as_admin("GET", "/api/users"), 503)
    shutil.rmtree(state) if state.is_dir() else state.unlink(missing_ok=True)
    shutil.copytree(tmp_path / "copy", state)
    assert client.get("/healthz").status_code == 200
    assert as_admin("GET", f"/api/users/{admin.pk}").json()["username"] == "root"


def without_lock(record: Path) -> None:
    record.with_suffix(".jsonl.lock").unlink()
    record.with_suffix(".jsonl.lock").mkdir()
    store._journal_at.cache_clear()
    store.open_or_log()


@pytest.mark.parametrize("fault", [lambda record: record.write_bytes(b"nonsense\n"), Path.unlink, without_lock])
def test_a_fault_of_the_record_or_its_lock_ends_no_sign_in(record, as_admin, admin, fault):
    """The gateway is ready only while users is: reads go on from the last good index."""
    fault(record)
    assert {Client().get(path).status_code for path in ("/healthz", "/readyz", "/livez")} == {200}
    assert as_admin("GET", f"/api/users/{admin.pk}").status_code == 200
    assert_problem(as_admin("PATCH", f"/api/users/{admin.pk}", {"full_name": "x"}), 503)


def test_a_record_that_another_process_reads_is_looked_at_again(record, as_admin, make):
    make("eva")
    (*_, line) = lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(lines) + line.replace(b'"full_name": ""', b'"full_name": "Eva"'))
    with FileLock(store.current().lock.path, 1).held():
        assert as_admin("GET", "/api/users?search=Eva").json()["results"][0]["full_name"] == ""
    assert as_admin("GET", "/api/users?search=Eva").json()["results"][0]["full_name"] == "Eva"


def test_tables_that_are_away_are_503(admin):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO elsewhere")
    try:
        answer = Client(raise_request_exception=False).get("/healthz")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO django_migrations")
    assert_problem(answer, 503)
    assert answer["Retry-After"] == "1"
