"""A browser stays signed in: its cookies are renewed, and a stolen refresh token is noticed."""

import time
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from tests.gateway.login import LoginService
from tests.gateway.portal.browsers import OWN, PAGE, expire, read_only, sign_in
from tests.gateway.runtimes import runtime
from tests.gateway.service import Reply

from gateway.identity import sessions
from gateway.identity.credentials import Account
from gateway.identity.models import Session
from gateway.policy.rejections import InvalidToken

pytestmark = pytest.mark.django_db
CLIENT = sessions.Client("192.0.2.1", "test")


def test_an_expired_access_token_is_renewed_within_the_request(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = expire(client)
    reply = client.get("/api/things")
    assert reply.status_code == 200
    assert set(reply.cookies) == {"gatehouse-access", "gatehouse-refresh"}
    assert reply["Cache-Control"] == "no-store"
    assert client.cookies["gatehouse-refresh"].value != before
    assert not client.get("/api/things").cookies


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_response_that_sets_the_cookies_is_never_cacheable(
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


@pytest.mark.parametrize("damaged", [False, True])
def test_an_access_token_that_cannot_be_renewed_early_is_used_until_it_expires(
    login: LoginService, client: Client, monkeypatch: Any, damaged: bool
) -> None:
    sign_in(client)
    then = time.time() + 890
    monkeypatch.setattr(time, "time", lambda: then)
    if damaged:
        client.cookies["gatehouse-refresh"] = "nonsense"
    else:
        login.broken = Reply.json({}, 500)
    reply = client.get("/api/things")
    assert (reply.status_code, dict(reply.cookies)) == (200, {})


def test_two_tabs_that_renew_at_once_get_the_same_token(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = expire(client)
    client.get("/api/things")
    after = client.cookies["gatehouse-refresh"].value
    client.cookies["gatehouse-refresh"] = before
    expire(client)
    assert client.get("/api/things").status_code == 200
    token = sessions.RefreshToken(runtime().token_backend, client.cookies["gatehouse-refresh"].value)
    assert token["jti"] == sessions.RefreshToken(runtime().token_backend, after)["jti"]
    assert Session.objects.get().ended_at is None


@pytest.mark.django_db(transaction=True)
def test_a_tab_that_another_tab_overtakes_stays_signed_in(login: LoginService, client: Client) -> None:
    sign_in(client)
    session, jti = runtime().sessions.find(expire(client))

    def overtake(path: str) -> None:
        """Rotate the token, as another tab does, between the look at the session and its rotation."""
        if not path.startswith("/internal/users/"):
            return
        login.before_response = lambda path: None
        account = Account("2", "user", "default", 0)
        runtime().sessions.rotate(session=session, jti=jti, account=account, client=CLIENT)
        connection.close()

    login.before_response = overtake
    assert client.get("/api/things").status_code == 200
    token = sessions.RefreshToken(runtime().token_backend, client.cookies["gatehouse-refresh"].value)
    assert token["jti"] == session.refresh_jti == Session.objects.get().refresh_jti
    assert Session.objects.get().ended_at is None


def test_a_rotated_token_ends_the_session_after_the_grace(
    login: LoginService, client: Client, monkeypatch: Any
) -> None:
    sign_in(client)
    before = expire(client)
    client.get("/api/things")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + sessions.BROWSER_GRACE + 2)
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
        runtime().sessions.refresh(refresh_token=first, grace=10, client=CLIENT)
    assert Session.objects.get().ended_at is not None


def test_a_program_gets_no_grace(login: LoginService, client: Client) -> None:
    sign_in(client)
    said = {"refresh_token": expire(client)}
    assert client.post("/api/token/refresh", said, "application/json").status_code == 200
    assert client.post("/api/token/refresh", said, "application/json").status_code == 401


def test_a_request_of_another_site_renews_nothing(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = Session.objects.get().refresh_jti
    expire(client)
    reply = client.post("/api/things", b"{}", "application/json", headers={"Origin": "http://evil.example"})
    assert reply.status_code == 401
    assert not reply.cookies
    assert Session.objects.get().refresh_jti == before


def test_a_websocket_handshake_renews_nothing_because_its_response_sets_no_cookies(
    login: LoginService, client: Client
) -> None:
    sign_in(client)
    before = Session.objects.get().refresh_jti
    expire(client)
    reply = client.get("/api/things", headers=OWN | {"Upgrade": "websocket", "Connection": "Upgrade"})
    assert (reply.status_code, dict(reply.cookies)) == (401, {})
    assert Session.objects.get().refresh_jti == before


def test_an_authorization_header_renews_nothing(login: LoginService, client: Client) -> None:
    sign_in(client)
    expire(client)
    reply = client.get("/api/things", headers={"Authorization": "Bearer nonsense"})
    assert (reply.status_code, dict(reply.cookies)) == (401, {})


def test_an_error_of_the_login_service_signs_no_user_out(login: LoginService, client: Client) -> None:
    sign_in(client)
    expire(client)
    login.broken = Reply.json({}, 500)
    reply = client.get("/api/things")
    assert (reply.status_code, dict(reply.cookies)) == (502, {})
    login.broken = None
    assert client.get("/api/things").status_code == 200


def test_a_deleted_user_is_signed_out(login: LoginService, client: Client) -> None:
    sign_in(client)
    expire(client)
    del login.users["user"]
    reply = client.get("/api/things", headers=PAGE)
    assert reply.status_code == 302
    assert {cookie["max-age"] for cookie in reply.cookies.values()} == {0}


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="of SQLite")
def test_a_failed_renewal_keeps_the_cookies(login: LoginService, client: Client) -> None:
    sign_in(client)
    before = expire(client)
    with read_only():
        reply = client.get("/api/things", headers=PAGE)
    assert (reply.status_code, reply["Retry-After"]) == (503, "1")
    assert reply["Content-Type"] == "application/problem+json"
    assert client.cookies["gatehouse-refresh"].value == before
    assert client.get("/api/things", headers=PAGE).status_code == 200
