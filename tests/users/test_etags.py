import pytest

from users import services
from users.models import User

from .conftest import Api
from .test_api import assert_problem

STALE = '"0123456789abcdef"'


def ask(client: Api, method: str, path: str, body: object = None, **headers: str):
    """Ask with these headers: `ask(api, "GET", path, If_Match="*")`."""
    client.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        return client(method, path, body)
    finally:
        for name in headers:
            del client.headers[name.replace("_", "-")]


def test_the_tag_of_a_user_changes_with_the_user_and_with_nothing_else(as_admin, as_gateway, make, settings):
    user = make("eva")
    path, tags = f"/api/users/{user.pk}", []
    for body in ({}, {"full_name": "Eva"}, {"password": "another horse 2"}, {"is_active": False}, {"is_active": True}):
        tag = as_admin("PATCH", path, body).headers["ETag"]
        assert as_admin("GET", path).headers["ETag"] == as_admin("GET", path).headers["ETag"] == tag
        tags.append(tag)
    assert len(set(tags)) == len(tags)
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)
    settings.ARGON2 = {"memory_kib": 16, "time": 1}
    credentials = {"username": "eva", "password": "another horse 2"}
    assert as_gateway("POST", "/internal/credentials", credentials).status_code == 200
    assert "m=16," in User.objects.get(pk=user.pk).password
    assert as_admin("GET", path).headers["ETag"] == tags[-1]


def test_an_unchanged_user_is_304(as_admin, as_user, make):
    user = make("eva")
    for client, path in ((as_admin, f"/api/users/{user.pk}"), (as_user(user.pk), "/api/users/me")):
        tag = client("GET", path).headers["ETag"]
        for given in (tag, f"W/{tag}", f"{STALE}, {tag}", "*"):
            response = ask(client, "GET", path, If_None_Match=given)
            assert (response.status_code, response.content, response.headers["ETag"]) == (304, b"", tag)
            assert "Content-Length" not in response.headers
        for given in (STALE, "nonsense", ""):
            assert ask(client, "GET", path, If_None_Match=given).json()["id"] == user.pk


def test_a_get_with_a_stale_if_match_is_412(as_admin, as_user, make):
    user = make("eva")
    for client, path in ((as_admin, f"/api/users/{user.pk}"), (as_user(user.pk), "/api/users/me")):
        tag = client("GET", path).headers["ETag"]
        for given in (tag, f"{STALE}, {tag}", "*"):
            assert ask(client, "GET", path, If_Match=given).status_code == 200
            assert ask(client, "GET", path, If_Match=given, If_None_Match=tag).status_code == 304
        for given in (STALE, f"W/{tag}"):
            assert_problem(ask(client, "GET", path, If_Match=given, If_None_Match=tag), 412)
        assert_problem(ask(client, "GET", path, If_Match="nonsense"), 400, **{"If-Match": "Expected"})


CHANGES = [("PUT", {"username": "eva", "email": "new@example.com"}), ("PATCH", {"full_name": "X"}), ("DELETE", None)]


@pytest.mark.parametrize(("method", "body"), CHANGES)
def test_a_change_with_a_stale_if_match_is_412(as_admin, admin, make, everything, method, body):
    user = make("eva")
    path = f"/api/users/{user.pk}"
    tag = as_admin("GET", path).headers["ETag"]
    services.user_update(user_id=user.pk, actor=admin.pk, full_name="Another one's")
    before = everything()
    for given in (tag, STALE, f"{STALE}, {tag}", f"W/{as_admin('GET', path).headers['ETag']}"):
        assert_problem(ask(as_admin, method, path, body, If_Match=given), 412)
    assert everything() == before
    for given in ("", "nonsense"):
        assert_problem(ask(as_admin, method, path, body, If_Match=given), 400, **{"If-Match": "Expected"})
    assert everything() == before


@pytest.mark.parametrize("given", ["seen", "one of two", "*"])
@pytest.mark.parametrize(("method", "body"), CHANGES)
def test_a_change_with_a_current_if_match_is_made(as_admin, make, method, body, given):
    path = f"/api/users/{make('eva').pk}"
    tag = as_admin("GET", path).headers["ETag"]
    header = {"seen": tag, "one of two": f"{STALE},{tag}", "*": "*"}[given]
    assert ask(as_admin, method, path, body, If_Match=header).status_code in {200, 204}
    assert as_admin("GET", path).status_code == 404 or as_admin("GET", path).headers["ETag"] != tag


@pytest.mark.parametrize(("method", "body"), CHANGES)
def test_a_change_with_a_matching_if_none_match_is_412(as_admin, make, everything, method, body):
    path = f"/api/users/{make('eva').pk}"
    tag, before = as_admin("GET", path).headers["ETag"], everything()
    for given in ("*", tag, f"W/{tag}", f"{STALE}, {tag}"):
        assert_problem(ask(as_admin, method, path, body, If_None_Match=given), 412)
        assert_problem(ask(as_admin, method, path, body, If_None_Match=given, If_Match=tag), 412)
    assert everything() == before
    assert ask(as_admin, method, path, body, If_None_Match=STALE).status_code in {200, 204}


def test_users_do_not_overwrite_their_own_unseen_change(as_user, make):
    me = as_user(make("eva").pk)
    tag = me("GET", "/api/users/me").headers["ETag"]
    changed = ask(me, "PATCH", "/api/users/me", {"full_name": "Eva"}, If_Match=tag)
    assert changed.status_code == 200
    assert_problem(ask(me, "PATCH", "/api/users/me", {"full_name": "Ada"}, If_Match=tag), 412)
    assert me("GET", "/api/users/me").json()["full_name"] == "Eva"
    assert me("GET", "/api/users/me").headers["ETag"] == changed.headers["ETag"]
