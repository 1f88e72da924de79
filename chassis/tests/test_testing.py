"""`chassis.testing`, permissions by role, and the user that a passport names."""

import pytest
from django.test import Client

from chassis import passports
from chassis.testing import SigningKey, client_as, passport_claims

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_backend():
    """Have `client_as` replace the keys of a backend of this test's, not those of the other tests'."""
    passports.backend.cache_clear()
    yield
    passports.backend.cache_clear()


def test_a_client_acts_as_a_user_without_a_gateway():
    made = client_as(7).post("/books/", {"title": "Dune"})
    assert made.status_code == 201, made.content
    assert client_as(7).get("/books/").json()["results"] == [made.json()]


def test_a_role_decides():
    book = client_as(7).post("/books/", {"title": "Dune"}).json()
    refused = client_as(7).delete(f"/books/{book['id']}/")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert client_as(1, "admin").delete(f"/books/{book['id']}/").status_code == 204


def test_its_signatures_are_checked():
    client_as(7)
    token = SigningKey().sign(passport_claims(7))
    headers = {"authorization": f"Bearer {token}", "request-user-id": "7"}
    assert Client().get("/books/", headers=headers).json()["code"] == "token_invalid"


@pytest.mark.parametrize(
    ("claims", "headers", "code"),
    [
        ({"exp": 1}, {}, "token_expired"),
        ({"aud": "users"}, {}, "token_invalid"),
        ({}, {"HTTP_REQUEST_USER_ID": "8"}, "user_id_mismatch"),
        ({}, {"HTTP_AUTHORIZATION": ""}, "not_authenticated"),
    ],
)
def test_what_is_not_accepted_has_a_code(claims, headers, code):
    client = client_as(7, **claims)
    client.credentials(**client._credentials | headers)
    refused = client.get("/books/")
    assert (refused.status_code, refused.json()["code"]) == (401, code)


def test_a_user_has_the_passport_s_id_name_role_and_session():
    user = client_as(7, "clerk", username="ada", sid="s1").get("/either").json()
    assert user == {"id": 7, "username": "ada", "role": "clerk", "sid": "s1"}
    gateway = client_as("gateway", "service").get("/either")
    assert gateway.status_code == 403


def test_roles_combine_with_other_permissions():
    assert client_as(8, "admin").get("/either").status_code == 200
    assert client_as(7, "default").get("/either").status_code == 200
    assert client_as(8, "default").get("/either").status_code == 403


def test_the_gateway_itself_has_a_name_for_an_id():
    user = passports.PassportUser({"sub": "gateway", "role": "service"})
    assert (user.id, user.role, user.is_authenticated) == ("gateway", "service", True)
