import json
from datetime import datetime

import pytest
from django.contrib.auth.hashers import check_password
from django.test import Client

from users.models import Deletion, User

from .conftest import JSON, PASSWORD

NEW = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}
FIELDS = {
    "id",
    "username",
    "email",
    "full_name",
    "user_type",
    "is_active",
    "created_by",
    "created_at",
    "updated_at",
}


def assert_problem(response, status: int, **errors: str) -> None:
    """Assert the problem document; each error's message begins with that text."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["origin"] == "users"
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert response.headers.get("Retry-After") == {503: "1", 507: "60"}.get(status)
    assert set(problem.get("errors", {})) == set(errors), problem
    for field, message in errors.items():
        assert problem["errors"][field][0].startswith(message), problem


# Create


def test_a_created_user_is_returned_stored_and_found(as_admin, admin):
    response = as_admin("POST", "/api/users", NEW)
    user = User.objects.get(username="ada")
    assert response.status_code == 201
    assert response.headers["Location"] == f"/api/users/{user.pk}"
    body = response.json()
    assert set(body) == FIELDS
    assert body | {"created_at": 0, "updated_at": 0} == {
        "id": user.pk,
        "username": "ada",
        "email": "ada@example.com",
        "full_name": "",
        "user_type": "default",
        "is_active": True,
        "created_by": admin.pk,
        "created_at": 0,
        "updated_at": 0,
    }
    assert check_password(PASSWORD, user.password)
    assert as_admin("GET", f"/api/users/{user.pk}").json() == body


def test_every_field_can_be_set_at_creation(as_admin):
    body = NEW | {"full_name": "Ada Ö.", "user_type": "admin", "is_active": False}
    answer = as_admin("POST", "/api/users", body).json()
    assert {name: answer[name] for name in ("full_name", "user_type", "is_active")} == {
        "full_name": "Ada Ö.",
        "user_type": "admin",
        "is_active": False,
    }


BAD = [
    ({"username": None}, {"username": "This field may not be null"}),
    ({"username": ""}, {"username": "This field may not be blank"}),
    ({"username": "a b"}, {"username": "Use only ASCII letters"}),
    ({"username": "é"}, {"username": "Use only ASCII letters"}),
    ({"username": "a\x00b"}, {"username": "Use only ASCII"}), ({"username": "a\ud800"}, {"username": ""}),
    ({"username": "x" * 151}, {"username": "Ensure this field has no more than 150"}),
    ({"username": 5}, {"username": "Expected a string, got a number"}),
    ({"email": "none"}, {"email": "Enter a valid email"}), ({"email": "é@example.com"}, {"email": ""}),
    ({"email": "x" * 250 + "@example.com"}, {"email": ""}), ({"full_name": "x" * 151}, {"full_name": "Ensure"}),
    ({"full_name": "a\x1bb"}, {"full_name": "Contains U+001B"}),
    ({"full_name": ["a"]}, {"full_name": "Expected a string, got an array"}),
    ({"user_type": "root"}, {"user_type": ""}), ({"user_type": "service"}, {"user_type": ""}),
    ({"is_active": "true"}, {"is_active": "Expected true or false, got a string"}),
    ({"password": "short"}, {"password": "This password is too short"}),
    ({"password": "12345678901"}, {"password": "This password is"}),
    ({"password": "password123"}, {"password": "This password is too common"}),
    ({"password": "ada@example.com"}, {"password": "The password is too similar"}),
    ({"password": "x1" * 65}, {"password": "Ensure this field has no more than 128"}),
    ({"password": "horse\ud800 staple"}, {"password": ""}), ({"id": 5}, {"id": "Unknown field"}),
    ({"created_by": 5, "session_epoch": 1}, {"created_by": "Unknown", "session_epoch": "Unknown"}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "errors"), BAD)
def test_bad_input_is_a_problem_that_names_the_field_and_stores_nothing(as_admin, everything, change, errors):
    before = everything()
    assert_problem(as_admin("POST", "/api/users", NEW | change), 400, **errors)
    assert everything() == before


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_missing_fields_are_named(as_admin, admin, method):
    path = "/api/users" if method == "POST" else f"/api/users/{admin.pk}"
    required = {"username", "email"} | ({"password"} if method == "POST" else set())
    assert_problem(as_admin(method, path, {}), 400, **dict.fromkeys(required, "This field is required"))


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("{", JSON, 400),
        ("[]", JSON, 400),
        ('"x"', JSON, 400),
        ("null", JSON, 400),
        (b"\xff", JSON, 400),
        ("[" * 100_000, JSON, 400),
        ("username=ada", "application/x-www-form-urlencoded", 415),
        ("x" * (1024 * 1024 + 1), JSON, 413),
    ],
)
@pytest.mark.parametrize("path", ["/api/users", "/api/users/me/password"])
def test_a_bad_body_is_a_problem_and_stores_nothing(as_admin, everything, path, body, content_type, status):
    before = everything()
    response = as_admin("POST", path, body, content_type)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert everything() == before


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"username": "EVA"}, {"username": "This username"}),
        ({"email": "Eva@Example.COM"}, {"email": "This email"}),
        ({"username": "eva", "email": "eva@example.com"}, {"username": "This username", "email": "This email"}),
    ],
)
def test_a_duplicate_in_any_case_is_a_conflict(as_admin, make, everything, body, errors):
    eva, other = make("eva"), make("other")
    before = everything()
    assert_problem(as_admin("POST", "/api/users", NEW | body), 409, **errors)
    assert_problem(as_admin("PATCH", f"/api/users/{other.pk}", body), 409, **errors)
    assert everything() == before
    assert as_admin("PATCH", f"/api/users/{eva.pk}", body).status_code == 200


# List


def listed(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [user["username"] for user in response.json()["results"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["kim", "ada", "eva", "root"]),
        ("?search=", ["kim", "ada", "eva", "root"]), ("?search=EV", ["eva"]), ("?search=%25", []),
        ("?search=example.ORG", ["kim"]), ("?search=lovelace", ["ada"]), ("?search=ÉLAN", ["ada"]),
        ("?search=é.an", []), ("?user_type=admin", ["root"]), ("?user_type=default&is_active=true", ["ada", "eva"]),
        ("?is_active=false", ["kim"]), ("?is_active=false&search=ada", []),
    ],
)  # fmt: skip
def test_a_list_is_newest_first_and_narrowed(as_admin, make, query, found):
    make("eva")
    make("ada", full_name="Ada élan Lovelace")
    make("kim", email="kim@example.org", is_active=False)
    assert listed(as_admin("GET", f"/api/users{query}")) == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("user_type=root", "user_type"), ("user_type=", "user_type"), ("is_active=yes", "is_active"),
        ("is_active=", "is_active"), ("search=%00", "search"), ("search=" + "x" * 201, "search"),
        ("limit=0", "limit"), ("cursor=nonsense", "cursor"), ("page=2", "page"),
        ("user_type=admin&user_type=admin", "user_type"), ("limit=%D9%A3", "limit"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named(as_admin, query, field):
    assert_problem(as_admin("GET", f"/api/users?{query}"), 400, **{field: ""})


def test_a_list_is_paged_by_cursor(as_admin, make):
    for number in range(5):
        make(f"user{number}")
    path, names = "/api/users?limit=2&user_type=default", []
    while path:
        page = as_admin("GET", path).json()
        assert set(page) == {"next", "previous", "results"}
        names += [user["username"] for user in page["results"]]
        path = page["next"]
    assert names == [f"user{number}" for number in (4, 3, 2, 1, 0)]


def test_nothing_about_a_password_ever_comes_out(as_admin, make):
    user = make("eva")
    for path in ("/api/users", f"/api/users/{user.pk}", "/api/users/me"):
        text = as_admin("GET", path).content.decode()
        assert "password" not in text
        assert "argon2" not in text


# One user


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("user_id", ["99", "0", "9" * 30])
def test_a_user_that_is_not_there_is_404(as_admin, method, user_id):
    assert_problem(as_admin(method, f"/api/users/{user_id}", {} if method != "GET" else None), 404)


@pytest.mark.parametrize("user_id", ["x", "-1", "1.5", "9" * 5000, "1/"])
def test_an_id_that_is_no_number_is_404(as_admin, user_id):
    assert_problem(as_admin("GET", f"/api/users/{user_id}"), 404)


def test_put_and_patch_change_the_given_fields(as_admin, make):
    user = make("eva", full_name="Eva")
    replaced = as_admin("PUT", f"/api/users/{user.pk}", {"username": "Ada", "email": "ada@example.com"}).json()
    assert (replaced["username"], replaced["email"], replaced["full_name"]) == ("Ada", "ada@example.com", "Eva")
    changed = as_admin("PATCH", f"/api/users/{user.pk}", {"user_type": "admin", "full_name": ""}).json()
    assert (changed["user_type"], changed["full_name"]) == ("admin", "")
    assert datetime.fromisoformat(changed["updated_at"]) >= datetime.fromisoformat(replaced["updated_at"])
    assert changed["created_at"] == replaced["created_at"]
    assert User.objects.get(pk=user.pk).username == "Ada"


def test_a_patch_that_changes_nothing_writes_nothing(as_admin, make, everything):
    user = make("eva")
    before = everything()
    for body in ({}, {"username": "eva"}):
        assert as_admin("PATCH", f"/api/users/{user.pk}", body).status_code == 200
    assert everything() == before


def test_a_password_set_by_an_admin_is_checked_and_ends_all_sessions(as_admin, make):
    user = make("eva")
    path = f"/api/users/{user.pk}"
    assert_problem(
        as_admin("PATCH", path, {"password": "eva@example.com"}), 400, password="The password is too similar"
    )
    assert as_admin("PATCH", path, {"password": "another horse 2"}).status_code == 200
    stored_user = User.objects.get(pk=user.pk)
    assert check_password("another horse 2", stored_user.password)
    assert (stored_user.session_epoch, stored_user.kept_session) == (1, "")


def test_an_admins_own_password_keeps_the_session_it_is_set_in(as_user, admin):
    as_admin = as_user(admin.pk, "admin", sid="s-1")
    assert as_admin("PATCH", f"/api/users/{admin.pk}", {"password": "another horse 2"}).status_code == 200
    assert User.objects.get().kept_session == "s-1"


def test_a_deletion_records_the_actor(as_admin, admin, make):
    user = make("eva")
    response = as_admin("DELETE", f"/api/users/{user.pk}")
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(as_admin("GET", f"/api/users/{user.pk}"), 404)
    assert Deletion.objects.get().updated_by == admin.pk


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize(
    ("method", "body", "errors"),
    [
        ("DELETE", None, {}),
        ("PATCH", {"user_type": "default"}, {"user_type": "You cannot"}),
        ("PATCH", {"is_active": False}, {"is_active": "You cannot"}),
        ("PATCH", {"is_active": False, "user_type": "default"}, {"is_active": "You", "user_type": "You"}),
    ],
)
def test_admins_do_not_delete_demote_or_deactivate_themselves(
    as_admin, admin, make, everything, others, method, body, errors
):
    for number in range(others):
        make(f"admin{number}", user_type="admin")
    before = everything()
    assert_problem(as_admin(method, f"/api/users/{admin.pk}", body), 409, **errors)
    assert everything() == before


@pytest.mark.parametrize(
    ("method", "body", "errors"),
    [
        ("DELETE", None, {}),
        ("PATCH", {"user_type": "default"}, {"user_type": "This is the last"}),
        ("PATCH", {"is_active": False}, {"is_active": "This is the last"}),
    ],
)
def test_the_last_active_admin_stays(as_user, admin, make, everything, method, body, errors):
    """Asked by an admin who was demoted a moment ago, and whose passport is still fresh."""
    former = make("former")
    make("inactive", user_type="admin", is_active=False)
    before = everything()
    assert_problem(as_user(former.pk, "admin")(method, f"/api/users/{admin.pk}", body), 409, **errors)
    assert everything() == before


def test_an_admin_who_is_not_the_last_can_be_demoted_and_an_inactive_one_deleted(as_admin, make):
    other = make("other", user_type="admin")
    assert as_admin("PATCH", f"/api/users/{other.pk}", {"user_type": "default"}).status_code == 200
    inactive = make("inactive", user_type="admin", is_active=False)
    assert as_admin("DELETE", f"/api/users/{inactive.pk}").status_code == 204


# Who may ask


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("GET", "/api/users", {"admin"}), ("POST", "/api/users", {"admin"}), ("GET", "/api/users/1", {"admin"}),
        ("PUT", "/api/users/1", {"admin"}), ("PATCH", "/api/users/1", {"admin"}),
        ("DELETE", "/api/users/1", {"admin"}), ("GET", "/api/users/1/history", {"admin"}),
        ("GET", "/api/users/me", {"admin", "default"}), ("PATCH", "/api/users/me", {"admin", "default"}),
        ("POST", "/api/users/me/password", {"admin", "default"}), ("POST", "/internal/credentials", {"service"}),
        ("GET", "/internal/users/1", {"service"}), ("GET", "/internal/session-ends", {"service"}),
    ],
)  # fmt: skip
def test_each_path_is_for_its_roles_only(as_user, admin, make, method, path, roles):
    make("other", user_type="admin")
    body = None if method == "GET" else {}
    for role in ("admin", "default", "service", "root", ""):
        response = as_user(admin.pk, role)(method, path, body)
        if role in roles:
            assert response.status_code not in {401, 403}, role
        else:
            assert_problem(response, 403)
    assert_problem(Client().generic(method, path, b"" if body is None else b"{}", content_type=JSON), 401)


def test_a_method_that_is_not_there_is_405(as_admin):
    response = as_admin("DELETE", "/api/users")
    assert_problem(response, 405)
    assert "GET" in response.headers["Allow"]


# The documents


def test_the_openapi_document_has_the_api_and_nothing_internal(as_admin):
    response = Client().get("/openapi.json")
    assert response.status_code == 200
    document = json.loads(response.content)
    assert {path: set(item) for path, item in document["paths"].items()} == {
        "/api/users": {"get", "post"},
        "/api/users/{user_id}": {"get", "put", "patch", "delete"},
        "/api/users/{user_id}/history": {"get"},
        "/api/users/me": {"get", "patch"},
        "/api/users/me/password": {"post"},
    }
    parameters = {parameter["name"] for parameter in document["paths"]["/api/users"]["get"]["parameters"]}
    assert parameters == {"search", "user_type", "is_active", "cursor", "limit"}
    assert "password" not in document["components"]["schemas"]["UserOut"]["properties"]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("spelling", ["0{}", "+{}", "%D9%A0{}", "{}%0A"])
def test_an_id_has_one_spelling(as_admin, make, everything, method, spelling):
    user = make("eva")
    before = everything()
    assert_problem(as_admin(method, f"/api/users/{spelling.format(user.pk)}", NEW), 404)
    assert everything() == before
