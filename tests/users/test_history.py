import json
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from django.db import connection

from users import changes, index, journal, services
from users.models import Deletion, User, UserChange
from users.record import JournalError, UnsettledError

from .conftest import ON_POSTGRESQL, PASSWORD, Api, settle, stored
from .test_api import assert_problem


def told(as_admin: Api, user_id: int) -> list[tuple[str, int | None, list[dict[str, object]]]]:
    """Return what the history tells, newest first."""
    response = as_admin("GET", f"/api/users/{user_id}/history?limit=200")
    assert response.status_code == 200, response.content
    page = response.json()
    assert (page["next"], page["previous"]) == (None, None)
    assert all(set(entry) == {"action", "at", "by", "changes"} for entry in page["results"])
    times = [datetime.fromisoformat(entry["at"]) for entry in page["results"]]
    assert times == sorted(times, reverse=True)
    return [(entry["action"], entry["by"], entry["changes"]) for entry in page["results"]]


def test_a_clock_that_goes_backwards_leaves_times_and_versions_in_their_order(as_admin, admin, make, monkeypatch):
    user_id = make("eva").pk
    path = f"/api/users/{user_id}"
    seen = as_admin("GET", path)
    monkeypatch.setattr(changes, "now", lambda now=changes.now: now() - timedelta(hours=1))
    answers = [seen, *(as_admin("PATCH", path, {"full_name": name}) for name in ("Eva", "Eva B", "Eva"))]
    created = datetime.fromisoformat(seen.json()["created_at"])
    passed = [datetime.fromisoformat(answer.json()["updated_at"]) - created for answer in answers]
    assert passed == [timedelta(milliseconds=number) for number in range(4)]
    assert len({answer["ETag"] for answer in answers}) == 4
    assert as_admin("DELETE", path).status_code == 204
    assert [action for action, _, _ in told(as_admin, user_id)] == ["deleted", *["changed"] * 3, "created"]


def test_a_history_tells_what_was_changed_by_whom_and_never_a_password(as_admin, as_user, admin):
    new = {"username": "eva", "email": "eva@example.com", "password": PASSWORD}
    user_id = as_admin("POST", "/api/users", new).json()["id"]
    created = ("created", admin.pk, [])
    assert told(as_admin, user_id) == [created]
    as_admin("PATCH", f"/api/users/{user_id}", {"is_active": True, "user_type": "admin", "password": "another horse 2"})
    as_user(user_id)("PATCH", "/api/users/me", {"full_name": "Eva", "email": "new@example.com"})
    body = {"old_password": "another horse 2", "new_password": "a third horse 3"}
    assert as_user(user_id)("POST", "/api/users/me/password", body).status_code == 204
    as_admin("PATCH", f"/api/users/{user_id}", {"full_name": "Eva"})
    assert as_admin("DELETE", f"/api/users/{user_id}").status_code == 204
    assert told(as_admin, user_id) == [
        ("deleted", admin.pk, []),
        ("changed", user_id, [{"field": "password"}]),
        (
            "changed",
            user_id,
            [
                {"field": "email", "old": "eva@example.com", "new": "new@example.com"},
                {"field": "full_name", "old": "", "new": "Eva"},
            ],
        ),
        ("changed", admin.pk, [{"field": "password"}, {"field": "user_type", "old": "default", "new": "admin"}]),
        created,
    ]
    text = as_admin("GET", f"/api/users/{user_id}/history").content.decode()
    assert "argon2" not in text
    assert "horse" not in text


def test_a_refused_change_and_a_new_hash_are_no_history(as_admin, as_gateway, admin, make, settings):
    user = make("eva")
    assert as_admin("PATCH", f"/api/users/{user.pk}", {"email": "root@example.com"}).status_code == 409
    assert as_admin("DELETE", f"/api/users/{admin.pk}").status_code == 409
    settings.ARGON2 = {"memory_kib": 16, "time": 1, "parallelism": 1}
    assert as_gateway("POST", "/internal/credentials", {"username": "eva", "password": PASSWORD}).status_code == 200
    assert "m=16," in User.objects.get(pk=user.pk).password
    assert not UserChange.objects.exists()


def test_what_a_shell_does_is_nobodys(as_admin, make):
    user = make("eva")
    user.full_name = "Eva"
    user.save()
    user.delete()
    assert [(action, by) for action, by, _ in told(as_admin, user.pk)] == [
        ("deleted", None),
        ("changed", None),
        ("created", None),
    ]


def test_a_history_is_paged_by_cursor(as_admin, admin, make):
    user = make("eva")
    for number in range(4):
        services.user_update(user_id=user.pk, actor=admin.pk, full_name=f"Name {number}")
    path, names = f"/api/users/{user.pk}/history?limit=2", []
    while path:
        page = as_admin("GET", path).json()
        assert len(page["results"]) <= 2
        names += [change["new"] for entry in page["results"] for change in entry["changes"]]
        path = page["next"]
    assert names == [f"Name {number}" for number in (3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("cursor=nonsense", "cursor"), ("page=2", "page"), ("limit=1&limit=1", "limit")],
)
def test_a_bad_parameter_is_named_whether_there_are_changes_or_not(as_admin, admin, make, query, field):
    user = make("eva")
    for _ in range(2):
        assert_problem(as_admin("GET", f"/api/users/{user.pk}/history?{query}"), 400, **{field: ""})
        services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva")


@pytest.mark.parametrize("user_id", ["99", "me", "0", "9" * 30, "01", "٣"])
def test_nobodys_history_is_404(as_admin, user_id):
    assert_problem(as_admin("GET", f"/api/users/{user_id}/history"), 404)


def test_a_history_keeps_its_beginning_and_the_newest_changes(as_admin, admin, make, monkeypatch):
    monkeypatch.setattr(index, "HISTORY", 3)
    user, other = make("eva"), make("ada")
    services.user_update(user_id=other.pk, actor=admin.pk, full_name="Ada")
    for number in range(9):
        services.user_update(user_id=user.pk, actor=admin.pk, full_name=f"Name {number}")
    changes = [entry[2] for entry in told(as_admin, user.pk)]
    assert [change[0]["new"] for change in changes[:-1]] == ["Name 8", "Name 7", "Name 6"]
    assert changes[-1] == []
    assert len(told(as_admin, other.pk)) == 2


def test_nobody_pushes_what_others_did_or_how_they_sign_in_out_of_their_own_history(
    as_admin, as_user, admin, make, state, monkeypatch
):
    monkeypatch.setattr(index, "HISTORY", 3)
    eva = make("eva")
    services.user_update(user_id=eva.pk, actor=admin.pk, user_type="admin")
    services.user_update(user_id=eva.pk, actor=admin.pk, full_name="Eva")
    old = PASSWORD
    for number in range(5):
        new = f"another horse {number}"
        services.password_change(user_id=eva.pk, old_password=old, new_password=new, session="")
        old = new
    for number in range(5):
        as_user(eva.pk)("PATCH", "/api/users/me", {"full_name": f"Name {number}"})
    before = told(as_admin, eva.pk)
    fields = [(by, [change["field"] for change in changes]) for action, by, changes in before if action == "changed"]
    own, others = eva.pk, admin.pk
    assert fields == [(own, ["full_name"])] * 3 + [(own, ["password"])] * 3 + [
        (others, ["full_name"]),
        (others, ["user_type"]),
    ]
    assert UserChange.objects.filter(user_id=eva.pk).count() == 3 + 3 + 2 + 1
    if ON_POSTGRESQL:
        return
    connection.close()
    for path in state.glob("index.sqlite3*"):
        path.unlink()
    assert told(as_admin, eva.pk) == before


def test_a_deletion_from_before_there_were_histories_is_told(as_admin, record):
    line = {"model": "users.deletion", "pk": 7, "fields": {"deleted_at": "2026-01-01T00:00:00Z", "deleted_by": 1}}
    with record.open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert told(as_admin, 7) == [("deleted", 1, [])]


def test_a_history_survives_compaction_and_a_new_index(as_admin, admin, make, record, state, monkeypatch):
    monkeypatch.setattr(index, "HISTORY", 3)
    user, gone = make("eva"), make("ada")
    for number in range(9):
        services.user_update(user_id=user.pk, actor=admin.pk, full_name=f"Name {number}")
    services.user_delete(user_id=gone.pk, actor=admin.pk)
    before = [told(as_admin, user.pk), told(as_admin, gone.pk)]
    assert len(stored(record)) == 3 + 1 + 9 * 2 + 3
    with journal.current().lock.held():
        journal.current().compact()
    assert len(stored(record)) == 2 + 1 + 1 + 3 + 2
    for _ in range(2):
        assert [told(as_admin, user.pk), told(as_admin, gone.pk)] == before
        connection.close()
        for path in state.glob("index.sqlite3*"):
            path.unlink()


def test_a_history_is_bounded_in_an_index_made_of_a_record_that_is_not_compacted(
    as_admin, admin, make, state, monkeypatch
):
    monkeypatch.setattr(index, "HISTORY", 3)
    user = make("eva")
    for number in range(6):
        services.user_update(user_id=user.pk, actor=admin.pk, full_name=f"Name {number}")
    before = told(as_admin, user.pk)
    connection.close()
    for path in state.glob("index.sqlite3*"):
        path.unlink()
    assert told(as_admin, user.pk) == before


@pytest.mark.parametrize("lines", [1, 2])
def test_what_is_told_of_a_change_that_a_crash_took_is_cut_off_too(as_admin, admin, make, record, caplog, lines):
    """All but the last line of an append reached the disk, or only a part of that."""
    user = make("eva")
    before = record.read_bytes()
    services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva")
    appended = record.read_bytes()[len(before) :].splitlines(keepends=True)
    assert len(appended) == 3
    connection.close()
    for path in record.parent.glob("index.sqlite3*"):
        path.unlink()
    record.write_bytes(before)
    journal.catch_up()
    with record.open("ab") as file:
        file.write(b"".join(appended[:lines]) + appended[lines][:20])
    for _ in range(2):  # the torn line, then what it was to be told of
        settle(record)
        with suppress(UnsettledError):
            journal.catch_up()
    assert told(as_admin, user.pk) == [("created", None, [])]
    assert record.read_bytes() == before
    assert "the last append was torn" in caplog.text


def test_an_edit_that_ends_amid_a_history_is_waited_for(as_admin, admin, make, record):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva")
    whole = record.read_text()
    record.write_text("".join(whole.splitlines(keepends=True)[:-1]).replace("root@", "ROOT@"))
    with pytest.raises(JournalError, match="of a history"):
        journal.catch_up()
    record.write_text(whole)
    assert len(told(as_admin, user.pk)) == 2


def test_an_id_is_never_used_again_and_its_history_stays_its_own(as_admin, admin, make):
    user = make("eva")
    services.user_delete(user_id=user.pk, actor=admin.pk)
    again = make("eva")
    assert again.pk == user.pk + 1
    assert told(as_admin, again.pk) == [("created", None, [])]
    assert [entry[0] for entry in told(as_admin, user.pk)] == ["deleted", "created"]
    services.user_delete(user_id=again.pk, actor=admin.pk)
    assert Deletion.objects.count() == 2
    assert make("eva").pk == again.pk + 1
    with pytest.raises(ValueError, match="not used again"):
        User(pk=user.pk, username="kim", email="kim@example.com").save()


def test_an_entry_says_what_it_is():
    assert str(UserChange(user_id=3, action="changed")) == "user 3 changed"
