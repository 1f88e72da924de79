"""A user's history: the difference of their versions, in both stores."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from users import services
from users.models import User
from users.store import writer

from .conftest import ON_POSTGRESQL, PASSWORD, Api, put, remove
from .journals import compact
from .test_api import assert_problem


def history(as_admin: Api, user_id: int) -> list[tuple[str, int | None, list[dict[str, object]]]]:
    """Return the user's history, newest first."""
    response = as_admin("GET", f"/api/users/{user_id}/history?limit=200")
    assert response.status_code == 200, response.content
    page = response.json()
    assert (page["next"], page["previous"]) == (None, None)
    assert all(set(entry) == {"action", "at", "by", "changes"} for entry in page["results"])
    times = [datetime.fromisoformat(entry["at"]) for entry in page["results"]]
    assert times == sorted(times, reverse=True)
    return [(entry["action"], entry["by"], entry["changes"]) for entry in page["results"]]


def test_a_clock_that_is_set_back_leaves_times_and_versions_in_their_order(as_admin, admin, make, monkeypatch):
    user_id = make("eva").pk
    path = f"/api/users/{user_id}"
    seen = as_admin("GET", path)
    monkeypatch.setattr(writer, "_now", lambda now=writer._now: now() - timedelta(hours=1))
    responses = [seen, *(as_admin("PATCH", path, {"full_name": name}) for name in ("Eva", "Eva B", "Eva"))]
    created = datetime.fromisoformat(seen.json()["created_at"])
    passed = [datetime.fromisoformat(response.json()["updated_at"]) - created for response in responses]
    assert passed == [timedelta(milliseconds=number) for number in range(4)]
    assert len({response["ETag"] for response in responses}) == 4
    assert as_admin("DELETE", path).status_code == 204
    assert [action for action, _, _ in history(as_admin, user_id)] == ["deleted", *["changed"] * 3, "created"]


def test_a_history_has_what_was_changed_by_whom_and_never_a_password(as_admin, as_user, admin, state):
    new = {"username": "eva", "email": "eva@example.com", "password": PASSWORD}
    user_id = as_admin("POST", "/api/users", new).json()["id"]
    created = ("created", admin.pk, [])
    assert history(as_admin, user_id) == [created]
    as_admin("PATCH", f"/api/users/{user_id}", {"is_active": True, "user_type": "admin", "password": "another horse 2"})
    as_user(user_id)("PATCH", "/api/users/me", {"full_name": "Eva", "email": "new@example.com"})
    body = {"old_password": "another horse 2", "new_password": "a third horse 3"}
    assert as_user(user_id)("POST", "/api/users/me/password", body).status_code == 204
    as_admin("PATCH", f"/api/users/{user_id}", {"full_name": "Eva"})
    assert as_admin("DELETE", f"/api/users/{user_id}").status_code == 204
    expected = [
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
    assert history(as_admin, user_id) == expected
    text = as_admin("GET", f"/api/users/{user_id}/history").content.decode()
    assert "argon2" not in text
    assert "horse" not in text
    if not ON_POSTGRESQL:
        compact()
        assert history(as_admin, user_id) == expected
        assert "argon2" not in (state / "users.history.jsonl").read_text()


def test_a_rejected_change_and_a_new_hash_are_no_history(as_admin, as_gateway, admin, make, settings):
    user = make("eva")
    assert as_admin("PATCH", f"/api/users/{user.pk}", {"email": "root@example.com"}).status_code == 409
    assert as_admin("DELETE", f"/api/users/{admin.pk}").status_code == 409
    settings.ARGON2 = {"memory_kib": 16, "time": 1}
    assert as_gateway("POST", "/internal/credentials", {"username": "eva", "password": PASSWORD}).status_code == 200
    assert "m=16," in User.objects.get(pk=user.pk).password
    assert [action for action, _, _ in history(as_admin, user.pk)] == ["created"]


def test_what_the_service_does_by_itself_is_by_no_user(as_admin, make):
    user = make("eva")
    user.full_name = "Eva"
    put(user)
    remove(user)
    assert [(action, by) for action, by, _ in history(as_admin, user.pk)] == [
        ("deleted", None),
        ("changed", None),
        ("created", None),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
def test_a_history_is_paged_forward_and_back(as_admin, admin, make, limit):
    user = make("eva")
    for number in range(4):
        services.user_update(user_id=user.pk, actor=admin.pk, full_name=f"Name {number}")
    path, pages = f"/api/users/{user.pk}/history?limit={limit}", []
    while path:
        pages.append(as_admin("GET", path).json())
        assert len(pages[-1]["results"]) <= limit
        path = pages[-1]["next"]
    found = [change["new"] for page in pages for entry in page["results"] for change in entry["changes"]]
    assert found == [f"Name {number}" for number in (3, 2, 1, 0)]
    assert pages[0]["previous"] is None
    for before, page in pairwise(pages):
        assert as_admin("GET", page["previous"]).json()["results"] == before["results"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("cursor=nonsense", "cursor"), ("cursor=0", "cursor"), ("cursor=9", "cursor"),
     ("page=2", "page"), ("limit=1&limit=1", "limit")],
)  # fmt: skip
def test_a_bad_parameter_is_named(as_admin, admin, make, query, field):
    assert_problem(as_admin("GET", f"/api/users/{make('eva').pk}/history?{query}"), 400, **{field: ""})


@pytest.mark.parametrize("user_id", ["99", "me", "0", "9" * 30, "01", "٣"])
def test_the_history_of_no_user_is_404(as_admin, user_id):
    assert_problem(as_admin("GET", f"/api/users/{user_id}/history"), 404)


def test_an_id_is_never_given_again_and_its_history_stays(as_admin, admin, make):
    user = make("eva")
    services.user_delete(user_id=user.pk, actor=admin.pk)
    assert make("ada").pk == user.pk + 1
    assert [(action, by) for action, by, _ in history(as_admin, user.pk)] == [("deleted", admin.pk), ("created", None)]


@pytest.mark.record
def test_versions_of_a_user_are_found_whatever_the_spaces_of_a_line(as_admin, make, record):
    user = make("eva")
    line = (
        record.read_text().splitlines()[-1].replace('"id": 2', '"id":2').replace('"full_name": ""', '"full_name": "E"')
    )
    with record.open("a") as file:
        file.write(line + "\n")
    assert [action for action, _, _ in history(as_admin, user.pk)] == ["changed", "created"]
