"""The users' own profile and password."""

import pytest
from django.contrib.auth.hashers import check_password

from users import services
from users.models import User

from .conftest import PASSWORD
from .test_api import assert_problem


def test_users_read_and_change_themselves(as_user, make):
    me = as_user(make("eva").pk)
    assert me("GET", "/api/users/me").json()["username"] == "eva"
    changed = me("PATCH", "/api/users/me", {"full_name": "Eva", "email": "new@example.com"})
    assert (changed.status_code, changed.json()["full_name"]) == (200, "Eva")
    assert User.objects.get().email == "new@example.com"


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("", {"user_type": "admin"}, {"user_type": "Unknown field. Expected one of: email, full_name."}),
        ("", {"is_active": True, "username": "x"}, {"is_active": "Unknown field", "username": "Unknown field"}),
        ("", {"full_name": "x", "password": "another horse 2"}, {"password": "Unknown field"}),
        ("", {"id": 1}, {"id": "Unknown field"}),
        ("", {"email": "eva"}, {"email": "Enter"}),
        ("", [], {"non_field_errors": "Invalid data"}),
        ("/password", {"old_password": "wrong", "new_password": "another horse 2"}, {"old_password": "This is not"}),
        ("/password", {"old_password": PASSWORD * 100, "new_password": "another horse 2"}, {"old_password": "This is"}),
        ("/password", {"old_password": PASSWORD, "new_password": "short"}, {"new_password": "This password is too"}),
        ("/password", {"old_password": PASSWORD, "new_password": "eva@example.com"}, {"new_password": "The password"}),
        ("/password", {"old_password": PASSWORD}, {"new_password": "This field is required"}),
        ("/password", {"new_password": "another horse 2"}, {"old_password": "This field is required"}),
    ],
)
def test_what_users_may_not_change_of_themselves_is_rejected(as_user, make, everything, path, body, errors):
    me, before = as_user(make("eva").pk), everything()
    assert_problem(me("POST" if path else "PATCH", f"/api/users/me{path}", body), 400, **errors)
    assert everything() == before


def test_the_email_of_another_user_is_a_conflict(as_user, make):
    make("ada")
    assert_problem(
        as_user(make("eva").pk)("PATCH", "/api/users/me", {"email": "ADA@example.com"}), 409, email="This email"
    )


@pytest.mark.parametrize("gone", ["deleted", "inactive"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/users/me"), ("PATCH", "/api/users/me"), ("POST", "/api/users/me/password")]
)
def test_a_former_user_is_401(as_user, make, admin, gone, method, path):
    user = make("eva")
    if gone == "deleted":
        services.user_delete(user_id=user.pk, actor=admin.pk)
    else:
        services.user_update(user_id=user.pk, actor=admin.pk, is_active=False)
    assert_problem(as_user(user.pk)(method, path, {} if method != "GET" else None), 401)


def test_a_changed_password_is_the_new_one_and_keeps_this_session_only(as_user, make):
    user = make("eva")
    body = {"old_password": PASSWORD, "new_password": "another horse 2"}
    assert as_user(user.pk, sid="s-7")("POST", "/api/users/me/password", body).status_code == 204
    after = User.objects.get()
    assert check_password("another horse 2", after.password)
    assert (after.session_epoch, after.kept_session) == (1, "s-7")


def test_a_password_without_session_keeps_none(as_user, make):
    user = make("eva")
    body = {"old_password": PASSWORD, "new_password": "another horse 2"}
    assert as_user(user.pk, sid=None)("POST", "/api/users/me/password", body).status_code == 204
    assert User.objects.get().kept_session == ""
