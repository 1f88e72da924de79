"""A user's way through all three processes: sign in, manage users, place orders."""

import json
import re
import subprocess

import pytest
import requests
from tests.system.stack import Stack, until
from tests.waiting import ENDED_WITHIN, wait_until

PASSWORD = "correct horse battery staple"


def test_a_user_is_created_places_an_order_and_is_deleted(stack: Stack) -> None:
    admin = stack.login("admin", "a")
    created = stack.ask(
        "POST",
        "/api/users",
        {"username": "ada", "email": "ada@example.com", "full_name": "Ada Lovelace", "password": PASSWORD},
        token=admin,
    )
    assert created.status == 201, created.text
    assert created.json["username"] == "ada"
    assert created.json["user_type"] == "default"
    assert "password" not in created.text
    user_id = created.json["id"]

    ada = stack.login("ada", PASSWORD)
    assert stack.ask("GET", "/api/users/me", token=ada).json["email"] == "ada@example.com"
    assert stack.ask("GET", "/api/users", token=ada).status == 403

    placed = stack.ask("POST", "/api/orders", {"item": "book", "address": "Main street 1"}, token=ada)
    assert placed.status == 201, placed.text
    assert placed.json["quantity"] == 1
    assert placed.json["created_by"] == user_id
    order = f"/api/orders/{placed.json['id']}"
    assert [each["id"] for each in stack.ask("GET", "/api/orders", token=ada).json["results"]] == [placed.json["id"]]
    assert stack.ask("POST", f"{order}/cancel", token=ada).json["status"] == "cancelled"

    user = stack.login("user", "u")
    for method, path in (("GET", order), ("POST", f"{order}/cancel")):
        others = stack.ask(method, path, token=user)
        assert others.status == 404, others.text
        assert others.json["origin"] == "orders"
    listed = stack.ask("GET", "/api/orders", token=user).json["results"]
    assert placed.json["id"] not in {each["id"] for each in listed}

    assert stack.ask("DELETE", f"/api/users/{user_id}", token=admin).status == 204
    assert stack.ask("POST", "/api/login", {"username": "ada", "password": PASSWORD}).status == 401
    wait_until(
        lambda: stack.ask("GET", "/api/orders", token=ada).status == 401,
        "a deleted user's token is rejected",
        ENDED_WITHIN,
    )


def test_an_order_with_an_idempotency_key_is_placed_once(stack: Stack) -> None:
    token, body = stack.login("user", "u"), {"item": "keyed", "address": "x"}
    first, again = (
        stack.ask("POST", "/api/orders", body, token=token, Idempotency_Key='"through-the-gateway"') for _ in range(2)
    )
    assert first.status == again.status == 201, first.text
    assert first.text == again.text
    for name in ("Location", "ETag"):
        assert first.headers[name] == again.headers[name] != ""
    other = stack.ask("POST", "/api/orders", body | {"quantity": 2}, token=token, Idempotency_Key="through-the-gateway")
    assert (other.status, other.json["origin"]) == (422, "orders")
    unchanged = stack.ask("GET", first.headers["Location"], token=token, If_None_Match=first.headers["ETag"])
    assert (unchanged.status, unchanged.text) == (304, "")
    assert stack.ask("GET", "/api/orders?status=shipped", token=token).json["results"] == []


def test_the_versioned_path_is_the_same_api(stack: Stack) -> None:
    token = stack.ask("POST", "/api/v1/login", {"username": "user", "password": "u"}).json["access_token"]
    for path in ("/api/orders", "/api/v1/orders"):
        assert stack.ask("GET", path, token=token).status == 200
    assert stack.ask("GET", "/api/v2/orders", token=token).status == 404


@pytest.mark.parametrize("version", ["", "/v1"])
def test_links_keep_the_version_of_the_request(stack: Stack, version: str) -> None:
    token = stack.login("user", "u")
    orders = f"/api{version}/orders"
    placed = [stack.ask("POST", orders, {"item": "linked", "address": "x"}, token=token) for _ in range(2)]
    assert [each.headers["Location"] for each in placed] == [f"{orders}/{each.json['id']}" for each in placed]
    first = stack.ask("GET", f"{orders}?limit=1", token=token).json
    origin = f"http://127.0.0.1:{stack.ports['gateway']}"
    assert first["next"].startswith(f"{origin}{orders}?")
    second = stack.ask("GET", first["next"].removeprefix(origin), token=token).json
    assert [page["results"][0]["id"] for page in (first, second)] == [each.json["id"] for each in reversed(placed)]
    admin = stack.login("admin", "a")
    assert (
        stack.ask("GET", f"/api{version}/users?limit=1", token=admin)
        .json["next"]
        .startswith(f"{origin}/api{version}/users?")
    )
    sessions = stack.ask("GET", f"/api{version}/sessions?limit=1", token=admin).json
    assert sessions["next"] is None or sessions["next"].startswith(f"{origin}/api{version}/sessions?")


def test_the_password_form_of_swagger_ui_signs_in(stack: Stack) -> None:
    reply = stack.ask(
        "POST",
        "/api/login",
        b"grant_type=password&username=user&password=u&client_id=&client_secret=",
        Content_Type="application/x-www-form-urlencoded",
    )
    assert reply.status == 200, reply.text
    assert reply.json["token_type"] == "bearer"


def test_one_request_id_is_in_the_logs_of_all_three(stack: Stack) -> None:
    token = stack.login("user", "u")
    reply = stack.ask("GET", "/api/orders/999999", token=token)
    request_id = reply.headers["X-Request-ID"]
    assert reply.json["request_id"] == request_id
    for name in ("gateway", "orders"):
        until(
            lambda name=name: any(
                line["request_id"] == request_id and line.get("status") == 404 for line in stack.logs(name)
            ),
            20,
            f"the id in {name}'s log",
        )
    login = stack.ask("POST", "/api/login", {"username": "user", "password": "u"}).headers["X-Request-ID"]
    until(lambda: any(line["request_id"] == login for line in stack.logs("users")), 20, "the id in users' log")


def test_a_logout_ends_the_session_on_every_worker(stack: Stack) -> None:
    pair = stack.ask("POST", "/api/login", {"username": "user", "password": "u"}).json
    token = pair["access_token"]
    assert stack.ask("POST", "/api/logout", token=token).status == 204
    wait_until(
        lambda: {stack.ask("GET", "/api/orders", token=token).status for _ in range(8)} == {401},
        "rejected everywhere",
        ENDED_WITHIN,
    )
    assert stack.ask("POST", "/api/token/refresh", {"refresh_token": pair["refresh_token"]}).status == 401


def test_a_reused_refresh_token_ends_the_session(stack: Stack) -> None:
    first = stack.ask("POST", "/api/login", {"username": "user", "password": "u"}).json
    second = stack.ask("POST", "/api/token/refresh", {"refresh_token": first["refresh_token"]})
    assert second.status == 200, second.text
    assert stack.ask("GET", "/api/orders", token=second.json["access_token"]).status == 200
    assert stack.ask("POST", "/api/token/refresh", {"refresh_token": first["refresh_token"]}).status == 401
    wait_until(
        lambda: stack.ask("GET", "/api/orders", token=second.json["access_token"]).status == 401,
        "the session ended",
        ENDED_WITHIN,
    )
    assert stack.ask("POST", "/api/token/refresh", {"refresh_token": second.json["refresh_token"]}).status == 401


def test_a_password_change_ends_all_sessions_but_its_own(stack: Stack) -> None:
    admin = stack.login("admin", "a")
    body = {"username": "grace", "email": "grace@example.com", "password": PASSWORD}
    assert stack.ask("POST", "/api/users", body, token=admin).status == 201
    own, other = stack.login("grace", PASSWORD), stack.login("grace", PASSWORD)
    changed = stack.ask(
        "POST", "/api/users/me/password", {"old_password": PASSWORD, "new_password": PASSWORD + " 2"}, token=own
    )
    assert changed.status == 204, changed.text
    wait_until(
        lambda: stack.ask("GET", "/api/users/me", token=other).status == 401, "the other session ended", ENDED_WITHIN
    )
    assert stack.ask("GET", "/api/users/me", token=own).status == 200
    assert stack.ask("POST", "/api/login", {"username": "grace", "password": PASSWORD}).status == 401
    stack.login("grace", PASSWORD + " 2")


def test_a_wrong_password_and_an_unknown_name_get_the_same_response(stack: Stack) -> None:
    wrong = stack.ask("POST", "/api/login", {"username": "admin", "password": "wrong"})
    unknown = stack.ask("POST", "/api/login", {"username": "unknown", "password": "wrong"})
    assert wrong.status == unknown.status == 401
    assert {**wrong.json, "request_id": ""} == {**unknown.json, "request_id": ""}


@pytest.fixture(scope="module")
def visitor(stack: Stack) -> str:
    """An access token of a user of these tests alone, since other tests may use up a shared user's rate limit."""
    body = {"username": "visitor", "email": "visitor@example.com", "password": PASSWORD}
    assert stack.ask("POST", "/api/users", body, token=stack.login("admin", "a")).status == 201
    return stack.login("visitor", PASSWORD)


BAD = [
    (b'{"item": ', {}, 400, "JSON"),
    (b"[1]", {}, 400, "dictionary"),
    (b'{"item": 5, "address": "x"}', {}, 400, "item"),
    (b'{"item": "x", "address": "y", "price": 1}', {}, 400, "price"),
    (b'{"item": "' + b"x" * 201 + b'", "address": "y"}', {}, 400, "item"),
    (b'{"item": "a\\u0000b", "address": "y"}', {}, 400, "item"),
    (b'{"item": "\\ud800", "address": "y"}', {}, 400, "item"),
    (b"[" * 100_000, {}, 400, "JSON"),
    (b"x" * (2 * 1024 * 1024), {}, 413, "1048576"),
    (b"item=x&address=y", {"Content_Type": "application/x-www-form-urlencoded"}, 415, "media type"),
]


@pytest.mark.parametrize(("body", "headers", "status", "named"), BAD)
def test_a_bad_body_gets_a_problem_that_names_the_fault(
    stack: Stack, visitor: str, body: bytes, headers: dict[str, str], status: int, named: str
) -> None:
    before = stack.ask("GET", "/api/orders", token=visitor).text
    reply = stack.ask("POST", "/api/orders", body, token=visitor, **headers)
    assert reply.status == status, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert named in reply.json["detail"]
    assert stack.ask("GET", "/api/orders", token=visitor).text == before


@pytest.mark.parametrize("to", ["gateway", "users", "orders"])
@pytest.mark.parametrize("charset", ["rot13", "zlib", "utf-7", "no-such"])
def test_an_unknown_charset_is_ignored(stack: Stack, to: str, charset: str) -> None:
    reply = stack.ask("GET", "/api/orders?limit=1", to=to, Content_Type=f"application/json; charset={charset}")
    assert reply.status in {401, 404}, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"


BAD_PATHS = [
    ("/api/orders?cursor=%00", 400),
    ("/api/orders?cursor=cD1hYmM=", 400),
    ("/api/orders?limit=0", 400),
    ("/api/orders/abc", 404),
    ("/api/orders/99999999999999999999999999", 404),
    ("/api/orders/%2e%2e/users", 400),
    ("/api/orders%2f1", 400),
    ("/api//orders", 400),
    ("/api/orders/%", 400),
    ("/api/orders/%ff", 400),
    ("/internal/credentials", 404),
    ("/nothing", 404),
]


@pytest.mark.parametrize(("path", "status"), BAD_PATHS)
def test_a_bad_path_gets_a_problem(stack: Stack, visitor: str, path: str, status: int) -> None:
    reply = stack.ask("GET", path, token=visitor)
    assert reply.status == status, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["status"] == status


def test_a_client_cannot_set_its_user_id(stack: Stack) -> None:
    admin_id = stack.ask("GET", "/api/users/me", token=stack.login("admin", "a")).json["id"]
    token = stack.login("user", "u")
    me = stack.ask("GET", "/api/users/me", token=token).json
    for name in ("Request-User-Id", "REQUEST-USER-ID", "request_user_id"):
        replies = subprocess.run(
            ["curl", "-s", "-H", f"Authorization: Bearer {token}", "-H", f"{name}: {admin_id}",
             f"http://127.0.0.1:{stack.ports['gateway']}/api/users/me"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f'"id":{me["id"]},' in replies.stdout.replace(" ", "")


def test_links_between_pages_of_orders_lead_to_the_gateway(stack: Stack) -> None:
    admin = stack.login("admin", "a")
    # Other tests place orders in this stack too.
    before = [order["item"] for order in stack.ask("GET", "/api/orders?limit=200", token=admin).json["results"]]
    for number in range(5):
        assert stack.ask("POST", "/api/orders", {"item": f"n{number}", "address": "x"}, token=admin).status == 201
    seen, path = [], "/api/orders?limit=2"
    while path:
        page = stack.ask("GET", path, token=admin).json
        seen += [order["item"] for order in page["results"]]
        link = page["next"]
        prefix = f"http://127.0.0.1:{stack.ports['gateway']}"
        assert link is None or link.startswith(f"{prefix}/api/orders?")
        path = link.removeprefix(prefix) if link else ""
    assert seen == ["n4", "n3", "n2", "n1", "n0", *before]


def test_the_audit_trail_has_which_user_was_changed_by_the_api_and_in_the_admin(stack: Stack) -> None:
    admin = stack.login("admin", "a")
    body = {"username": "kim", "email": "kim@example.com", "full_name": "Kim", "password": PASSWORD}
    number = stack.ask("POST", "/api/users", body, token=admin).json["id"]
    changed = stack.ask("PATCH", f"/api/users/{number}", {"full_name": "Kim K"}, token=admin)
    assert changed.status == 200
    assert changed.headers.get("Audit-Detail") is None
    with requests.Session() as browser:
        browser.headers.update({"Authorization": f"Bearer {admin}", "Accept": "text/html"})
        url = f"http://localhost:{stack.ports['gateway']}/admin/users/user/{number}/delete/"
        page = browser.get(url, timeout=30).text
        form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', page))
        deleted = browser.post(
            url,
            form | {"post": "yes"},
            headers={"Origin": url.partition("/admin")[0]},
            timeout=30,
            allow_redirects=False,
        )
    assert deleted.status_code == 302
    trail = stack.ask("GET", f"/gateway/audit/?format=jsonl&event=changed&detail=user+{number}:", token=admin)
    entries = [json.loads(line) for line in trail.text.splitlines()][::-1]
    assert [(entry["detail"], entry["by"], entry["client"]) for entry in entries] == [
        (f"POST /api/users 201: user {number}: created", "admin", "127.0.0.1"),
        (f"PATCH /api/users/{number} 200: user {number}: full_name", "admin", "127.0.0.1"),
        (f"POST /admin/users/user/{number}/delete/ 302: user {number}: deleted", "admin", "127.0.0.1"),
    ]
    assert entries[1]["request_id"] == changed.headers["X-Request-ID"]
    assert PASSWORD not in trail.text
