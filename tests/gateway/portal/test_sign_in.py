"""Signing in and out in a browser, and staying signed in."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from tests.gateway.login import LoginService
from tests.gateway.service import Reply, Seen, Service

from gateway.identity import sessions
from gateway.identity.models import Session
from gateway.identity.revocations import revocations
from gateway.policy.rejections import InvalidToken

CLIENT = sessions.Client("192.0.2.1", "test")
pytestmark = pytest.mark.django_db
FORM = "application/x-www-form-urlencoded"
OWN = {"Origin": "http://testserver"}
PAGE = {"Accept": "text/html"}


@pytest.fixture
def login(serve: Callable[..., Service], configure: Callable[..., None]) -> LoginService:
    service = LoginService()

    def answer(seen: Seen) -> Reply:
        return service(seen) if seen.target.startswith("/internal/") else Reply()

    configure(
        services={"people": {"url": serve(answer).url}},
        login={"service": "people"},
        routes=[
            {"path": "/api/things", "methods": ["GET", "POST"], "service": "people", "allow": "authenticated"},
            {"path": "/pages/{path...}", "methods": ["GET", "POST"], "service": "people", "allow": ["admin"],
             "browser": "passthrough"},
        ],
    )  # fmt: skip
    return service


def send(client: Client, path: str = "/login/", headers: dict[str, str] = OWN, **said: str) -> Any:
    return client.post(path, urlencode(said), FORM, headers=headers)


def sign_in(client: Client, **said: str) -> Any:
    return send(client, **{"username": "user", "password": "secret"} | said)


def test_a_sign_in_sets_two_cookies_that_no_script_reads_and_goes_on(login: LoginService, client: Client) -> None:
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
def test_a_sign_in_leads_to_no_other_site(login: LoginService, client: Client, said: str) -> None:
    assert 'name="next" value="/"' in client.get("/login/", {"next": said}).content.decode()
    assert sign_in(client, next=said)["Location"] == "/"
    assert client.get("/login/", {"next": said})["Location"] == "/"


@pytest.mark.parametrize(
    "said",
    [
        {"password": "wrong"},
        {"username": "nobody"},
        {"password": ""},
        {"username": "x" * 151},
        {"password": "x" * 1025},
    ],
)
def test_a_wrong_password_is_said_on_the_page(login: LoginService, client: Client, said: dict[str, str]) -> None:
    reply = sign_in(client, next="/api/things", **said)
    page = reply.content.decode()
    assert reply.status_code == 401
    assert "Wrong username or password." in page
    assert 'name="next" value="/api/things"' in page
    assert "secret" not in page
    assert not reply.cookies
    assert not Session.objects.exists()


def test_what_was_typed_is_text_in_the_page(login: LoginService, client: Client) -> None:
    page = sign_in(client, username='"><script>alert(1)</script>', password="wrong").content.decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_guessing_is_slowed_down_here_too(login: LoginService, client: Client, settings: Any) -> None:
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
def test_a_form_of_another_site_is_refused(
    login: LoginService, client: Client, path: str, headers: dict[str, str]
) -> None:
    sign_in(client)
    reply = send(client, path, headers, username="admin", password="secret")
    assert reply.status_code == 403
    assert not reply.cookies
    assert Session.objects.get().ended_at is None


@pytest.mark.parametrize("twice", ["username=admin", "password=x", "next=/docs"])
def test_a_form_says_each_field_once(login: LoginService, client: Client, twice: str) -> None:
    body = f"{twice}&username=user&password=secret&next=/"
    reply = client.post("/login/", body, FORM, headers=OWN)
    assert (reply.status_code, "Send each once." in reply.content.decode()) == (400, True)
    assert not client.cookies


def test_a_form_is_a_form_and_not_too_long(login: LoginService, client: Client) -> None:
    assert client.post("/login/", b"{}", "application/json", headers=OWN).status_code == 400
    assert sign_in(client, extra="x" * 70_000).status_code == 413


def test_an_outage_is_said_on_the_page(login: LoginService, client: Client) -> None:
    login.broken = Reply.json({}, 500)
    reply = sign_in(client)
    assert reply.status_code == 502
    assert "The people service responded with an error (500)." in reply.content.decode()


def test_a_refused_passport_is_not_said_to_be_a_wrong_password(login: LoginService, client: Client) -> None:
    login.broken = Reply.json({}, 401)
    reply = sign_in(client)
    assert reply.status_code == 502
    page = reply.content.decode()
    assert "Wrong username or password" not in page
    assert "The people service rejects this gateway" in page
    assert 'value="user"' in page


def test_who_signs_in_while_too_many_do_is_told_when_to_try_again(login: LoginService, client: Client) -> None:
    login.broken = Reply(503, b"{}", [("Retry-After", "2")])
    reply = sign_in(client)
    assert (reply.status_code, reply["Retry-After"]) == (503, "2")
    assert "The people service cannot handle the request now. Try again later." in reply.content.decode()


def test_a_sign_out_ends_the_session_and_forgets_the_cookies(login: LoginService, client: Client) -> None:
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
    revocations().read_sessions()
    kept = Client(headers={"Host": "testserver"})
    for name, value in before.items():
        kept.cookies[name] = value
    assert kept.get("/api/things").status_code == 401
    assert client.get("/logout/")["Location"] == "/login/"


def test_a_second_sign_in_ends_the_session_before(login: LoginService, client: Client) -> None:
    sign_in(client)
    sign_in(client, username="admin")
    assert [session.user_id for session in Session.objects.filter(ended_at=None)] == ["1"]


def test_a_person_is_sent_to_the_sign_in_and_a_program_is_not(login: LoginService, client: Client) -> None:
    for path in ("/api/things?x=a%20b&y=1", "/pages/a"):
        reply = client.get(path, headers=PAGE)
        assert reply.status_code == 302
        assert client.get(reply["Location"]).status_code == 200
        assert f'value="{path.replace("&", "&amp;")}"' in client.get(reply["Location"]).content.decode()
        assert client.get(path).status_code == 401
    assert client.post("/api/things", headers=PAGE).status_code == 401


def test_who_may_not_see_a_service_s_pages_is_told_so_on_a_page(login: LoginService, client: Client) -> None:
    """Not in the browsable API, which would offer to delete what is no resource of an API."""
    sign_in(client)
    reply = client.get("/pages/a", headers=PAGE)
    page = reply.content.decode()
    assert (reply.status_code, reply["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert reply["Cache-Control"] == "no-store"
    assert "Expected the role admin; yours is default." in page
    assert 'href="/"' in page
    assert 'href="/logout/"' in page
    assert reply["X-Request-ID"] in page
    assert "<form" not in page
    assert "Content-Security-Policy" in reply
    assert client.get("/pages/a").json()["detail"] == "Expected the role admin; yours is default."
    reply = client.delete("/pages/a", headers=PAGE | OWN)
    assert (reply.status_code, reply["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert 'href="/logout/"' not in reply.content.decode()


def test_who_saves_a_form_after_the_session_has_ended_is_told_so_and_where_to_sign_in(
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
    # A path that another page could not lead to, a sign-in does not lead to either.
    reply = client.post("/pages/a?x\\y", headers=PAGE | OWN)
    assert 'href="/login/?next=/"' in reply.content.decode()
    assert client.post("/pages/a", headers=OWN).json()["detail"].startswith("Authentication required")


def test_the_pages_say_who_is_signed_in(login: LoginService, client: Client) -> None:
    assert 'href="/login/?next=/"' in client.get("/", headers=PAGE).content.decode()
    sign_in(client)
    for path in ("/", "/api/things"):
        page = client.get(path, headers=PAGE).content.decode()
        assert "<span>user</span>" in page
        assert 'action="/logout/"' in page


def expire(client: Client) -> str:
    """Leave the browser with the refresh token alone, as after the access token's time; return it."""
    del client.cookies["gatehouse-access"]
    return str(client.cookies["gatehouse-refresh"].value)


def test_an_expired_access_token_is_renewed_without_a_word(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = expire(client)
    reply = client.get("/api/things")
    assert reply.status_code == 200
    assert set(reply.cookies) == {"gatehouse-access", "gatehouse-refresh"}
    assert reply["Cache-Control"] == "no-store"
    assert client.cookies["gatehouse-refresh"].value != before
    assert not client.get("/api/things").cookies


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_nothing_stores_an_answer_that_brings_the_cookies_whatever_its_service_says(
    login: LoginService, serve: Any, configure: Any, client: Client, accept: str
) -> None:
    said = [("Cache-Control", "public"), ("Cache-Control", "max-age=9"), ("CDN-Cache-Control", "max-age=9")]
    stored = Reply(200, b"{}", [("Content-Type", "application/json"), ("Expires", "x"), *said])
    service = serve(lambda seen: login(seen) if seen.target.startswith("/internal/") else stored)
    configure(
        services={"people": {"url": service.url}},
        login={"service": "people"},
        routes=[{"path": "/api/things", "service": "people", "methods": ["GET"], "allow": "authenticated"}],
    )
    sign_in(client)
    expire(client)
    reply = client.get("/api/things", headers={"Accept": accept})
    assert reply.cookies
    names = ("Cache-Control", "CDN-Cache-Control", "Expires")
    assert [header for header in reply.items() if header[0] in names] == [("Cache-Control", "no-store")]


@pytest.mark.parametrize(("after", "renewed"), [(700, False), (740, True), (890, True)])
def test_an_access_token_is_renewed_in_the_last_fifth_of_its_time(
    login: LoginService, client: Client, monkeypatch: Any, after: int, renewed: bool
) -> None:
    sign_in(client)
    then = time.time() + after
    monkeypatch.setattr(time, "time", lambda: then)
    reply = client.get("/api/things")
    assert (reply.status_code, bool(reply.cookies)) == (200, renewed)
    assert not client.get("/api/things", headers={"Authorization": "Bearer nonsense"}).cookies


@pytest.mark.parametrize("spoilt", [False, True])
def test_what_cannot_be_renewed_early_is_used_to_its_end(
    login: LoginService, client: Client, monkeypatch: Any, spoilt: bool
) -> None:
    sign_in(client)
    then = time.time() + 890
    monkeypatch.setattr(time, "time", lambda: then)
    if spoilt:
        client.cookies["gatehouse-refresh"] = "nonsense"
    else:
        login.broken = Reply.json({}, 500)
    reply = client.get("/api/things")
    assert (reply.status_code, dict(reply.cookies)) == (200, {})


def test_tabs_that_refresh_at_once_go_on_with_one_and_the_same_token(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = expire(client)
    client.get("/api/things")
    after = client.cookies["gatehouse-refresh"].value
    client.cookies["gatehouse-refresh"] = before
    expire(client)
    assert client.get("/api/things").status_code == 200
    token = sessions.RefreshToken(client.cookies["gatehouse-refresh"].value)
    assert token["jti"] == sessions.RefreshToken(after)["jti"]
    assert Session.objects.get().ended_at is None


def test_a_tab_that_loses_the_race_goes_on(login: LoginService, client: Client, monkeypatch: Any) -> None:
    sign_in(client)
    before = expire(client)
    asked = sessions.credentials.account_by_id

    def overtaken(user_id: str) -> Any:
        account = asked(user_id)
        session, jti = sessions.session_of(before)
        sessions.session_rotate(session=session, jti=jti, account=account, client=CLIENT)
        return account

    # Another tab's request comes between the look at the session and its rotation.
    monkeypatch.setattr(sessions.credentials, "account_by_id", overtaken)
    pair = sessions.session_continue(refresh_token=before, grace=10, client=CLIENT)
    assert sessions.RefreshToken(pair.refresh_token)["jti"] == Session.objects.get().refresh_jti


def test_a_rotated_token_that_comes_late_ends_the_session(
    login: LoginService, client: Client, monkeypatch: Any
) -> None:
    sign_in(client)
    before = expire(client)
    client.get("/api/things")
    now = time.time()
    monkeypatch.setattr(sessions.time, "time", lambda: now + sessions.BROWSER_GRACE + 2)
    client.cookies["gatehouse-refresh"] = before
    expire(client)
    reply = client.get("/api/things")
    assert reply.status_code == 401
    assert {cookie["max-age"] for cookie in reply.cookies.values()} == {0}
    assert Session.objects.get().ended_at is not None


def test_a_token_from_before_the_last_two_rotations_ends_the_session_at_once(
    login: LoginService, client: Client
) -> None:
    sign_in(client)
    first = expire(client)
    client.get("/api/things")
    expire(client)
    client.get("/api/things")
    with pytest.raises(InvalidToken):
        sessions.session_continue(refresh_token=first, grace=10, client=CLIENT)
    assert Session.objects.get().ended_at is not None


def test_a_program_gets_no_such_grace(login: LoginService, client: Client) -> None:
    sign_in(client)
    said = {"refresh_token": expire(client)}
    assert client.post("/api/token/refresh", said, "application/json").status_code == 200
    assert client.post("/api/token/refresh", said, "application/json").status_code == 401


def test_another_site_renews_nothing(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = Session.objects.get().refresh_jti
    expire(client)
    reply = client.post("/api/things", b"{}", "application/json", headers={"Origin": "http://evil.example"})
    assert reply.status_code == 401
    assert not reply.cookies
    assert Session.objects.get().refresh_jti == before


def test_a_handshake_renews_nothing_as_its_answer_may_bring_no_cookies(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = Session.objects.get().refresh_jti
    expire(client)
    reply = client.get("/api/things", headers=OWN | {"Upgrade": "websocket", "Connection": "Upgrade"})
    assert (reply.status_code, dict(reply.cookies)) == (401, {})
    assert Session.objects.get().refresh_jti == before


def test_a_header_renews_nothing(login: LoginService, client: Client) -> None:
    sign_in(client)
    expire(client)
    reply = client.get("/api/things", headers={"Authorization": "Bearer nonsense"})
    assert (reply.status_code, dict(reply.cookies)) == (401, {})


def test_an_outage_signs_nobody_out(login: LoginService, client: Client) -> None:
    sign_in(client)
    expire(client)
    login.broken = Reply.json({}, 500)
    reply = client.get("/api/things")
    assert (reply.status_code, dict(reply.cookies)) == (502, {})
    login.broken = None
    assert client.get("/api/things").status_code == 200


def test_a_user_who_is_gone_is_signed_out(login: LoginService, client: Client) -> None:
    sign_in(client)
    expire(client)
    del login.users["user"]
    reply = client.get("/api/things", headers=PAGE)
    assert reply.status_code == 302
    assert {cookie["max-age"] for cookie in reply.cookies.values()} == {0}


@pytest.mark.parametrize(
    "path", ["/", "/login/", "/docs", "/redoc", "/docs?script=", "/api/things", "/nothing", "/healthz"]
)
def test_every_answer_of_the_gateway_says_what_a_browser_may_do(login: LoginService, client: Client, path: str) -> None:
    reply = client.get(path)
    policy = dict(part.split(" ", 1) for part in reply["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy.get("script-src", "'self'") == "'self'"
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert reply["X-Frame-Options"] == "DENY"
    assert reply["Referrer-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in reply
    if reply["Content-Type"].startswith("text/html"):
        page = reply.content.decode()
        assert "<script>" not in page
        assert "onclick=" not in page


@pytest.mark.parametrize("path", ["/", "/login/", "/docs", "/redoc", "/nothing"])
def test_every_page_has_an_icon_so_that_no_browser_asks_for_one_in_vain(
    login: LoginService, client: Client, path: str
) -> None:
    page = client.get(path, headers=PAGE).content.decode()
    icon = page.partition('<link rel="icon" href="')[2].partition('"')[0]
    reply = client.get(icon)
    reply.close()
    assert reply.status_code == 200


def test_a_file_that_an_api_hands_to_a_browser_is_in_a_sandbox(
    serve: Callable[..., Service], configure: Callable[..., None], client: Client
) -> None:
    service = serve(lambda seen: Reply(200, b"<script>alert(1)</script>", [("Content-Type", "text/html")]))
    configure(
        services={"files": {"url": service.url}},
        routes=[{"path": "/files", "methods": ["GET"], "service": "files", "allow": "public"}],
    )
    assert client.get("/files", headers=PAGE)["Content-Security-Policy"].startswith("sandbox;")


@contextmanager
def read_only() -> Iterator[None]:
    """Let nothing be written, as a disk with a fault does."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
        try:
            yield
        finally:
            cursor.execute("PRAGMA query_only = OFF")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="of SQLite")
def test_a_session_that_cannot_be_stored_is_said_on_the_page(login: LoginService, client: Client) -> None:
    with read_only():
        reply = sign_in(client, next="/api/things")
    assert (reply.status_code, reply["Retry-After"]) == (503, "1")
    page = reply.content.decode()
    assert "The sessions&#x27; database did not respond in time. Try again later. Try again." in page
    assert 'value="/api/things"' in page
    assert 'value="user"' in page
    assert not reply.cookies


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="of SQLite")
def test_what_cannot_be_renewed_for_now_keeps_the_cookies(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = expire(client)
    with read_only():
        reply = client.get("/api/things", headers=PAGE)
    assert (reply.status_code, reply["Retry-After"]) == (503, "1")
    assert reply["Content-Type"] == "application/problem+json"
    assert client.cookies["gatehouse-refresh"].value == before
    assert client.get("/api/things", headers=PAGE).status_code == 200
