"""Each response names the users that its request has changed, for the gateway's audit trail; no value is in it."""

import pytest

from users import services
from users.store import changed

from .admin_pages import FORM, LIST, version
from .conftest import PASSWORD


def test_the_api_names_who_was_created_changed_and_deleted(as_admin, make):
    body = {"username": "eva", "email": "eva@example.com", "password": PASSWORD}
    created = as_admin("POST", "/api/users", body)
    number = created.json()["id"]
    assert (created.status_code, created["Audit-Detail"]) == (201, f"user {number}: created")
    path = f"/api/users/{number}"
    altered = as_admin("PATCH", path, {"full_name": "Eva", "password": "another horse 2"})
    assert altered["Audit-Detail"] == f"user {number}: full_name, password"
    assert as_admin("PATCH", path, {"full_name": "Eva"})["Audit-Detail"] == ""
    assert "Audit-Detail" not in as_admin("PATCH", path, {"full_name": 5})
    assert "Audit-Detail" not in as_admin("GET", path)
    assert as_admin("DELETE", path)["Audit-Detail"] == f"user {number}: deleted"


def test_a_changed_password_of_ones_own_is_named(as_user, make):
    user = make("eva")
    body = {"old_password": PASSWORD, "new_password": "another horse 2"}
    response = as_user(user.pk)("POST", "/api/users/me/password", body)
    assert (response.status_code, response["Audit-Detail"]) == (204, f"user {user.pk}: password")


def test_an_action_of_the_admin_names_all_users_that_it_changed(browser, make):
    users = [make(name).pk for name in ("eva", "ada")]
    data = {"action": "deactivate", "_selected_action": users, "index": 0}
    response = browser.post(LIST, data)
    assert (response.status_code, response["Audit-Detail"]) == (302, f"users {users[0]}, {users[1]}: is_active")


def test_the_admins_form_names_what_it_changed(browser, make):
    user = make("ada")
    sent = FORM | {"full_name": "Ada L", "email": user.email, "version": version(browser, user.pk)}
    response = browser.post(f"{LIST}{user.pk}/change/", sent)
    assert (response.status_code, response["Audit-Detail"]) == (302, f"user {user.pk}: full_name")


def test_a_form_of_the_admin_with_a_mistake_names_no_user(browser, make):
    user = make("ada")
    path = f"{LIST}{user.pk}/change/"
    response = browser.post(path, FORM | {"email": "no address", "version": version(browser, user.pk)})
    assert (response.status_code, response["Audit-Detail"]) == (200, "")
    response = browser.post(f"{LIST}{user.pk}/delete/", {"post": "yes", "version": "0"})
    assert (response.status_code, response["Audit-Detail"]) == (302, "")


def test_a_sign_in_that_hashes_a_password_again_is_no_change(make, settings):
    make("eva")
    settings.ARGON2 = settings.ARGON2 | {"time": settings.ARGON2["time"] + 1}
    with changed.collected() as found:
        assert services.credentials_check(username="eva", password=PASSWORD)
    assert not found


@pytest.mark.parametrize("count", [500, 5000])
def test_a_description_has_a_bound(count):
    text = changed.described({"is_active": [*range(10_000, 10_000 + count)]})
    assert len(text) <= changed.MAX_LENGTH
    assert text.endswith(": is_active" if count == 500 else "...")
