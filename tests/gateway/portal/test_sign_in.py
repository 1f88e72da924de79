"""Signing in and out in a browser."""

from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from tests.gateway.login import LoginService
from tests.gateway.portal.browsers import FORM, OWN, PAGE, read_only, send, sign_in
from tests.gateway.runtimes import runtime
from tests.gateway.service import Reply

from gateway.identity.models import Session

pytestmark = pytest.mark.django_db


def test_a_sign_in_sets_two_http_only_cookies_and_redirects(login: LoginService, client: Client) -> None:
    reply = sign_in(client, next="/api/things?x=1#y")
    assert (reply.status_code, reply["Location"], reply["Cache-Control"]) == (303, "/api/things?x=1#y", "no-store")
    assert set(reply.cookies) == {"gatehouse-access", "gatehouse-refresh"}
    for name, seconds in (("gatehouse-access", 900), ("gatehouse-refresh", 14 * 86400)):
        cookie = reply.cookies[name]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["max-age"]) == (
            True,
            "Lax",
            "/",
            seconds,
        )
        assert not cookie["secure"]
        assert not cookie["domain"]
    assert client.get("/api/things").status_code == 200


def test_over_https_the_cookies_are_bound_to_the_host(login: LoginService, client: Client) -> None:
    reply = client.post(
        "/login/", urlencode({"username": "user", "password": "secret"}), FORM,
        headers={"Origin": "https://testserver"}, secure=True,
    )  # fmt: skip
    assert set(reply.cookies) == {"__Host-gatehouse-access", "__Host-gatehouse-refresh"}
    assert all(cookie["secure"] for cookie in reply.cookies.values())
    assert reply["Strict-Transport-Security"] == "max-age=31536000"
    assert client.get("/api/things", secure=True).status_code == 200
    assert client.get("/api/things").status_code == 401


@pytest.mark.parametrize("said", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_a_sign_in_never_redirects_to_another_site(login: LoginService, client: Client, said: str) -> None:
    assert 'name="next" value="/"' in client.get("/login/", {"next": said}).content.decode()
    assert sign_in(client, next=said)["Location"] == "/"
    assert client.get("/login/", {"next": said})["Location"] == "/"


@pytest.mark.parametrize(
    "said",
    [
        {"password": "wrong"},
        {"username": "unknown"},
        {"password": ""},
        {"username": "x" * 151},
        {"password": "x" * 1025},
    ],
)
def test_the_page_reports_a_wrong_password(login: LoginService, client: Client, said: dict[str, str]) -> None:
    reply = sign_in(client, next="/api/things", **said)
    page = reply.content.decode()
    assert reply.status_code == 401
    assert "Wrong username or password." in page
    assert 'name="next" value="/api/things"' in page
    assert "secret" not in page
    assert not reply.cookies
    assert not Session.objects.exists()


def test_the_page_escapes_what_was_typed(login: LoginService, client: Client) -> None:
    page = sign_in(client, username='"><script>alert(1)</script>', password="wrong").content.decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_guesses_on_the_page_are_throttled(login: LoginService, client: Client, settings: Any) -> None:
    settings.LOGIN_FREE_TRIES = 1
    for _ in range(8):
        reply = sign_in(client, password="wrong")
        if reply.status_code == 429:
            break
    assert reply.status_code == 429
    assert "Too many sign-ins have failed. Try again in" in reply.content.decode()
    assert int(reply["Retry-After"]) >= 1


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}]
)
@pytest.mark.parametrize("path", ["/login/", "/logout/"])
def test_a_form_of_another_site_is_rejected(
    login: LoginService, client: Client, path: str, headers: dict[str, str]
) -> None:
    sign_in(client)
    reply = send(client, path, headers, username="admin", password="secret")
    assert reply.status_code == 403
    assert not reply.cookies
    assert Session.objects.get().ended_at is None


@pytest.mark.parametrize("twice", ["username=admin", "password=x", "next=/docs"])
def test_a_form_with_a_repeated_field_is_rejected(login: LoginService, client: Client, twice: str) -> None:
    body = f"{twice}&username=user&password=secret&next=/"
    reply = client.post("/login/", body, FORM, headers=OWN)
    assert (reply.status_code, "Send each once." in reply.content.decode()) == (400, True)
    assert not client.cookies


def test_a_body_that_is_not_a_form_or_too_long_is_rejected(login: LoginService, client: Client) -> None:
    assert client.post("/login/", b"{}", "application/json", headers=OWN).status_code == 400
    assert sign_in(client, extra="x" * 70_000).status_code == 413


def test_the_page_reports_an_error_of_the_login_service(login: LoginService, client: Client) -> None:
    login.broken = Reply.json({}, 500)
    reply = sign_in(client)
    assert reply.status_code == 502
    assert "The people service responded with an error (500)." in reply.content.decode()


def test_the_page_does_not_report_a_rejected_passport_as_a_wrong_password(login: LoginService, client: Client) -> None:
    login.broken = Reply.json({}, 401)
    reply = sign_in(client)
    assert reply.status_code == 502
    page = reply.content.decode()
    assert "Wrong username or password" not in page
    assert "The people service rejects this gateway" in page
    assert 'value="user"' in page


def test_a_busy_login_service_s_retry_after_reaches_the_browser(login: LoginService, client: Client) -> None:
    login.broken = Reply(503, b"{}", [("Retry-After", "2")])
    reply = sign_in(client)
    assert (reply.status_code, reply["Retry-After"]) == (503, "2")
    assert "The people service cannot handle the request now. Try again later." in reply.content.decode()


def test_a_sign_out_ends_the_session_and_deletes_the_cookies(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = {name: cookie.value for name, cookie in client.cookies.items()}
    assert "Sign out" in client.get("/logout/").content.decode()
    assert Session.objects.get().ended_at is None
    reply = send(client, "/logout/")
    assert (reply.status_code, reply["Location"]) == (303, "/login/?signed-out")
    assert {name: (cookie.value, cookie["max-age"]) for name, cookie in reply.cookies.items()} == {
        "gatehouse-access": ("", 0), "gatehouse-refresh": ("", 0),
    }  # fmt: skip
    assert "You are signed out." in client.get(reply["Location"]).content.decode()
    runtime().revocations.read_sessions()
    kept = Client(headers={"Host": "testserver"})
    for name, value in before.items():
        kept.cookies[name] = value
    assert kept.get("/api/things").status_code == 401
    assert client.get("/logout/")["Location"] == "/login/"


def test_a_second_sign_in_ends_the_session_before(login: LoginService, client: Client) -> None:
    sign_in(client)
    sign_in(client, username="admin")
    assert [session.user_id for session in Session.objects.filter(ended_at=None)] == ["1"]


def test_a_browser_is_redirected_to_the_sign_in_and_a_program_is_not(login: LoginService, client: Client) -> None:
    for path in ("/api/things?x=a%20b&y=1", "/pages/a"):
        reply = client.get(path, headers=PAGE)
        assert reply.status_code == 302
        assert client.get(reply["Location"]).status_code == 200
        assert f'value="{path.replace("&", "&amp;")}"' in client.get(reply["Location"]).content.decode()
        assert client.get(path).status_code == 401
    assert client.post("/api/things", headers=PAGE).status_code == 401


def test_a_403_for_a_service_s_page_is_a_page_of_the_gateway(login: LoginService, client: Client) -> None:
    """The browsable API would offer to delete the page."""
    sign_in(client)
    reply = client.get("/pages/a", headers=PAGE)
    page = reply.content.decode()
    assert (reply.status_code, reply["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert reply["Cache-Control"] == "no-store"
    assert "This is for the role admin; yours is default." in page
    assert 'href="/"' in page
    assert "sign in as a user who may" in page
    assert reply["X-Request-ID"] in page
    assert page.count("<form") == page.count('action="/logout/"') == 1
    assert "Content-Security-Policy" in reply
    assert client.get("/pages/a").json()["detail"] == "This is for the role admin; yours is default."
    reply = client.delete("/pages/a", headers=PAGE | OWN)
    assert (reply.status_code, reply["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert "sign in as a user who may" not in reply.content.decode()


def test_a_form_saved_after_the_session_ended_is_a_page_that_links_to_the_sign_in(
    login: LoginService, client: Client
) -> None:
    sign_in(client)
    Session.objects.all().delete()
    client.cookies.clear()
    for path, sent_on in (
        ("/pages/user/7/change/", "/pages/user/7/change/"),
        ("/pages/a?x=%22%3E&y=1", "/pages/a%3Fx%3D%2522%253E%26y%3D1"),
    ):
        reply = client.post(path, headers=PAGE | OWN)
        page = reply.content.decode()
        assert (reply.status_code, reply["Content-Type"]) == (401, "text/html; charset=utf-8")
        assert "Nothing was saved" in page
        assert "Authorization: Bearer" not in page
        assert f'href="/login/?next={sent_on}"' in page
        assert f'value="{path.replace("&", "&amp;")}"' in client.get(f"/login/?next={sent_on}").content.decode()
    # A sign-in does not redirect to a path that no page can link to.
    reply = client.post("/pages/a?x\\y", headers=PAGE | OWN)
    assert 'href="/login/?next=/"' in reply.content.decode()
    assert client.post("/pages/a", headers=OWN).json()["detail"].startswith("Authentication required")


def test_the_pages_show_the_signed_in_user(login: LoginService, client: Client) -> None:
    assert 'href="/login/?next=/"' in client.get("/", headers=PAGE).content.decode()
    sign_in(client)
    for path in ("/", "/api/things"):
        page = client.get(path, headers=PAGE).content.decode()
        assert ">user</span>" in page
        assert 'action="/logout/"' in page


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="of SQLite")
def test_the_page_reports_that_a_session_cannot_be_stored(login: LoginService, client: Client) -> None:
    with read_only():
        reply = sign_in(client, next="/api/things")
    assert (reply.status_code, reply["Retry-After"]) == (503, "1")
    page = reply.content.decode()
    assert "The database did not respond in time. Nothing was stored. Try again." in page
    assert 'value="/api/things"' in page
    assert 'value="user"' in page
    assert not reply.cookies
