"""Login, refresh, logout, the public keys."""

import bz2
import io
import json
import time
from datetime import datetime, timedelta
from typing import Any
from wsgiref.util import setup_testing_defaults

import jwt
import pytest
from django.test import Client
from django.utils import timezone
from tests.gateway.login import LoginService
from tests.gateway.runtimes import renew, runtime
from tests.gateway.service import Reply

from gateway.identity import sessions
from gateway.identity.models import Session

pytestmark = pytest.mark.django_db


def sign_in(client: Client, **said: str) -> Any:
    return client.post("/api/login", {"username": "user", "password": "secret"} | said, "application/json")


def refresh(client: Client, token: str) -> Any:
    return client.post("/api/token/refresh", {"refresh_token": token}, "application/json")


def test_a_login_returns_a_token_pair_and_starts_a_session(login: LoginService, client: Client) -> None:
    reply = sign_in(client)
    assert reply.status_code == 200
    pair = reply.json()
    assert set(pair) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (pair["token_type"], pair["expires_in"]) == ("bearer", 900)
    assert reply["Cache-Control"] == "no-store"
    session = Session.objects.get()
    assert (session.user_id, session.ended_at) == ("2", None)
    assert pair["refresh_token"] not in json.dumps(list(Session.objects.values()), default=str)


def test_a_rejected_passport_is_a_502_that_names_the_service(login: LoginService, client: Client) -> None:
    pair = sign_in(client).json()
    login.broken = Reply.json({}, 401)
    for reply in (sign_in(client), sign_in(client, password="wrong"), refresh(client, pair["refresh_token"])):
        assert (reply.status_code, reply.json()["service"], reply.json()["origin"]) == (502, "people", "gateway")
        assert "password" not in reply.json()["detail"]
        assert "passport" in reply.json()["detail"]
    login.broken = None
    # The session has not ended.
    assert refresh(client, pair["refresh_token"]).status_code == 200


def test_the_oauth_password_form_logs_in(login: LoginService, client: Client) -> None:
    form = {"grant_type": "password", "username": "user", "password": "secret", "client_id": "", "scope": ""}
    assert client.post("/api/login", form).status_code == 415
    from urllib.parse import urlencode

    reply = client.post("/api/login", urlencode(form), "application/x-www-form-urlencoded")
    assert reply.status_code == 200


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("grant", ["grant_type=password&", "grant_type=&", ""])
def test_the_grant_type_of_a_form_is_optional(login: LoginService, client: Client, grant: str) -> None:
    assert client.post("/api/login", f"{grant}username=user&password=secret", FORM).status_code == 200


@pytest.mark.parametrize("grant", ["client_credentials", "refresh_token", "authorization_code", "Password", "x"])
@pytest.mark.parametrize("kind", [FORM, "application/json"])
def test_another_grant_type_is_rejected_with_oauth_s_error(
    login: LoginService, client: Client, kind: str, grant: str
) -> None:
    said = {"grant_type": grant, "username": "user", "password": "secret"}
    from urllib.parse import urlencode

    reply = client.post("/api/login", urlencode(said) if kind == FORM else said, kind)
    problem = reply.json()
    assert (reply.status_code, reply["Content-Type"]) == (400, "application/problem+json")
    assert (problem["status"], problem["error"]) == (400, "unsupported_grant_type")
    assert not Session.objects.exists()


@pytest.mark.parametrize("twice", ["username=admin", "password=secret", "grant_type=password"])
def test_a_form_with_a_repeated_field_is_rejected(login: LoginService, client: Client, twice: str) -> None:
    form = f"{twice}&username=user&password=secret&grant_type=password"
    reply = client.post("/api/login", form, FORM)
    assert (reply.status_code, set(reply.json()["errors"])) == (400, {twice.partition("=")[0]})
    assert not Session.objects.exists()


def test_the_versioned_path_logs_in_too(login: LoginService, client: Client) -> None:
    said = {"username": "user", "password": "secret"}
    assert client.post("/api/v1/login", said, "application/json").status_code == 200
    assert client.post("/api/v2/login", said, "application/json").status_code == 404


@pytest.mark.parametrize("said", [{"password": "wrong"}, {"username": "unknown"}])
def test_wrong_credentials_are_one_and_the_same_401(login: LoginService, client: Client, said: dict[str, str]) -> None:
    reply = sign_in(client, **said)
    assert reply.status_code == 401
    assert reply.json()["detail"] == "Wrong username or password."
    assert reply["WWW-Authenticate"].startswith("Bearer")
    assert not Session.objects.exists()


@pytest.mark.parametrize(
    ("body", "kind", "status", "field"),
    [
        (b"{", "application/json", 400, None),
        (b"[]", "application/json", 400, "non_field_errors"),
        (b'{"username": "user"}', "application/json", 400, "password"),
        (b'{"username": 5, "password": "x"}', "application/json", 400, "username"),
        (b'{"username": "user", "password": "secret", "colour": "red"}', "application/json", 400, "colour"),
        (b'{"username": "%s", "password": "x"}' % (b"u" * 151), "application/json", 400, "username"),
        (b"<a/>", "application/xml", 415, None),
        (bz2.compress(b'{"username": "user", "password": "secret"}'), "application/json; charset=bz2", 415, None),
        (b"+AHs-", "application/json; charset=utf-7", 415, None),
        (b'{"username": "user", "password": "x", "username": "admin"}', "application/json", 400, "username"),
        (b" " * 65537, "application/json", 413, None),
    ],
)
def test_a_bad_login_gets_a_problem(
    login: LoginService, client: Client, body: bytes, kind: str, status: int, field: str | None
) -> None:
    reply = client.generic("POST", "/api/login", body, kind)
    assert reply.status_code == status, reply.content
    assert reply["Content-Type"] == "application/problem+json"
    assert field is None or field in reply.json()["errors"]


@pytest.mark.parametrize("body", [b"", b'{"username": "user", "password": "secret"}'])
def test_an_invalid_content_type_is_rejected(login: LoginService, body: bytes) -> None:
    from gateway_project.wsgi import application

    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/api/login", "CONTENT_LENGTH": str(len(body))}
    environ |= {"CONTENT_TYPE": "application/json; x*=unknown''y", "wsgi.input": io.BytesIO(body)}
    setup_testing_defaults(environ)
    answered: list[str] = []
    content = b"".join(application(environ, lambda status, headers: answered.append(status)))
    assert answered == ["415 Unsupported Media Type" if body else "400 Bad Request"]
    assert json.loads(content)["origin"] == "gateway"


def test_without_a_login_service_there_is_no_login(client: Client, configure: Any) -> None:
    configure()
    assert sign_in(client).status_code == 404


@pytest.mark.parametrize(
    "broken", [Reply.json({}, 500), Reply.json({}, 403), Reply(200, b"no json"), Reply.json({}), Reply.json([])]
)
def test_an_invalid_response_of_the_login_service_is_a_502(login: LoginService, client: Client, broken: Reply) -> None:
    login.broken = broken
    assert sign_in(client).status_code == 502


@pytest.mark.parametrize("status", [500, 501, 502, 504, 599])
def test_an_error_of_the_login_service_is_not_reported_as_unreachable(
    login: LoginService, client: Client, status: int
) -> None:
    login.broken = Reply.json({}, status)
    reply = sign_in(client)
    assert (reply.status_code, reply.json()["service"]) == (502, "people")
    assert reply.json()["detail"] == f"The people service responded with an error ({status})."


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [("7", "7"), ("0", "0"), (None, "1"), ("", "1"), ("-1", "1"), ("1e9", "1"), ("9" * 30, "1"), ("\u0663", "1"),
     ("Wed, 21 Oct 2026 07:28:00 GMT", "1")],
)  # fmt: skip
def test_a_busy_login_service_s_retry_after_reaches_the_client(
    login: LoginService, client: Client, said: str | None, passed_on: str
) -> None:
    """Too many hashes at once, as the users service says it."""
    pair = sign_in(client).json()
    value = [] if said is None else [("Retry-After", said.encode().decode("latin-1"))]
    login.broken = Reply(503, b"{}", value)
    for reply in (sign_in(client), refresh(client, pair["refresh_token"])):
        assert (reply.status_code, reply["Retry-After"]) == (503, passed_on)
        assert reply["Content-Type"] == "application/problem+json"
        assert reply.json()["detail"] == "The people service cannot handle the request now. Try again later."
    login.broken = None
    assert refresh(client, pair["refresh_token"]).status_code == 200


def test_a_refresh_rotates_the_token_and_uses_the_current_role(
    login: LoginService, client: Client, settings: Any
) -> None:
    first = sign_in(client).json()
    login.users["user"]["role"] = "admin"
    reply = refresh(client, first["refresh_token"])
    assert reply.status_code == 200
    second = reply.json()
    assert second["refresh_token"] != first["refresh_token"]
    claims = jwt.decode(second["access_token"], options={"verify_signature": False})
    assert claims["role"] == "admin"
    assert refresh(client, second["refresh_token"]).status_code == 200


def test_a_reused_refresh_token_ends_the_session(login: LoginService, client: Client) -> None:
    first = sign_in(client).json()
    second = refresh(client, first["refresh_token"]).json()
    assert refresh(client, first["refresh_token"]).status_code == 401
    assert Session.objects.get().ended_at is not None
    assert refresh(client, second["refresh_token"]).status_code == 401
    runtime().revocations.read_sessions()
    reply = client.get("/api/things", headers={"Authorization": f"Bearer {second['access_token']}"})
    assert reply.status_code == 401


def test_a_refresh_of_a_deleted_user_is_rejected(login: LoginService, client: Client) -> None:
    first = sign_in(client).json()
    del login.users["user"]
    assert refresh(client, first["refresh_token"]).status_code == 401


def test_a_refresh_that_fails_because_the_login_service_is_down_can_be_repeated(
    login: LoginService, client: Client
) -> None:
    first = sign_in(client).json()
    login.broken = Reply.json({}, 503)
    assert refresh(client, first["refresh_token"]).status_code == 503
    login.broken = None
    assert refresh(client, first["refresh_token"]).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_an_invalid_refresh_token_is_rejected(login: LoginService, client: Client, token: str) -> None:
    assert refresh(client, token).status_code == (401 if token else 400)


def test_a_refresh_token_is_valid_for_its_own_user_only(login: LoginService, client: Client) -> None:
    token = sessions.RefreshToken(runtime().token_backend, sign_in(client).json()["refresh_token"])
    token.payload["sub"] = "1"
    assert refresh(client, str(token)).status_code == 401


def test_an_access_token_is_not_accepted_as_a_refresh_token(login: LoginService, client: Client) -> None:
    assert refresh(client, sign_in(client).json()["access_token"]).status_code == 401


def test_a_logout_ends_only_its_own_session(login: LoginService, client: Client) -> None:
    mine, other = sign_in(client).json(), sign_in(client).json()
    reply = client.post("/api/logout", headers={"Authorization": f"Bearer {mine['access_token']}"})
    assert reply.status_code == 204
    assert "Content-Length" not in reply
    runtime().revocations.read_sessions()
    for pair, status in ((mine, 401), (other, 204)):
        reply = client.post("/api/logout", headers={"Authorization": f"Bearer {pair['access_token']}"})
        assert reply.status_code == status
    assert refresh(client, mine["refresh_token"]).status_code == 401


def test_a_logout_requires_a_session(login: LoginService, client: Client) -> None:
    reply = client.post("/api/logout")
    assert reply.status_code == 401
    assert reply["WWW-Authenticate"].startswith("Bearer")


def test_the_public_keys_are_published(client: Client, configure: Any) -> None:
    configure()
    reply = client.get("/.well-known/jwks.json")
    assert reply.json() == runtime().keys.current().jwks()
    assert "max-age" in reply["Cache-Control"]


def ask(client: Client, method: str, path: str, pair: dict[str, str], **headers: str) -> Any:
    return client.generic(method, path, headers={"Authorization": f"Bearer {pair['access_token']}", **headers})


def sign_in_from(client: Client, address: str, agent: str, **said: str) -> dict[str, str]:
    said = {"username": "user", "password": "secret"} | said
    reply = client.post("/api/login", said, "application/json", REMOTE_ADDR=address, headers={"User-Agent": agent})
    return dict(reply.json())


def test_a_user_sees_their_own_sessions(login: LoginService, client: Client) -> None:
    first = sign_in_from(client, "192.0.2.1", "curl/8")
    second = sign_in_from(client, "2001:db8::1", "a\tb" + "c" * 300)
    sign_in_from(client, "192.0.2.9", "x", username="admin")
    reply = ask(client, "GET", "/api/sessions", first)
    assert reply.status_code == 200
    newer, older = reply.json()["results"]
    assert set(older) == {"id", "created_at", "last_used_at", "client_address", "user_agent", "current"}
    assert (older["client_address"], older["user_agent"], older["current"]) == ("192.0.2.1", "curl/8", True)
    assert (newer["client_address"], newer["user_agent"]) == ("2001:db8::1", "ab" + "c" * 198)
    assert newer["current"] is False
    assert ask(client, "GET", "/api/v1/sessions", second).json()["results"][0]["current"] is True
    assert client.get("/api/sessions").status_code == 401


def test_a_refresh_updates_where_a_session_is_used(login: LoginService, client: Client) -> None:
    first = sign_in_from(client, "192.0.2.1", "curl/8")
    reply = client.post(
        "/api/token/refresh",
        {"refresh_token": first["refresh_token"]},
        "application/json",
        REMOTE_ADDR="192.0.2.2",
        headers={"User-Agent": "curl/9"},
    )
    (session,) = ask(client, "GET", "/api/sessions", reply.json()).json()["results"]
    assert (session["client_address"], session["user_agent"]) == ("192.0.2.2", "curl/9")
    assert datetime.fromisoformat(session["last_used_at"]) > datetime.fromisoformat(session["created_at"])


def test_the_list_of_sessions_is_paged(login: LoginService, client: Client) -> None:
    for number in range(3):
        mine = sign_in_from(client, f"192.0.2.{number}", "curl/8")
    page = ask(client, "GET", "/api/sessions?limit=2", mine).json()
    assert [each["client_address"] for each in page["results"]] == ["192.0.2.2", "192.0.2.1"]
    page = ask(client, "GET", page["next"].partition("testserver")[2], mine).json()
    assert ([each["client_address"] for each in page["results"]], page["next"]) == (["192.0.2.0"], None)


@pytest.mark.parametrize(
    "cursor", ["", "x", "cD0x", "cD15ZXN0ZXJkYXk=", "cD0yMDI2LTAxLTAx", "cD0yMDI2LTEzLTQ1VDAwOjAwWg=="]
)
def test_a_page_that_does_not_exist_is_a_400(login: LoginService, client: Client, cursor: str) -> None:
    reply = ask(client, "GET", f"/api/sessions?cursor={cursor}", sign_in(client).json())
    assert (reply.status_code, set(reply.json()["errors"])) == (400, {"cursor"})


@pytest.mark.parametrize("query", ["page=2", "limit=1&limit=1"])
def test_an_unknown_or_repeated_parameter_is_a_400(login: LoginService, client: Client, query: str) -> None:
    reply = ask(client, "GET", f"/api/sessions?{query}", sign_in(client).json())
    assert (reply.status_code, set(reply.json()["errors"])) == (400, {query.partition("=")[0]})


def test_a_user_can_end_only_their_own_sessions(login: LoginService, client: Client) -> None:
    mine, other = sign_in(client).json(), sign_in(client).json()
    foreign = sign_in(client, username="admin").json()
    (lost,) = [
        each["id"] for each in ask(client, "GET", "/api/sessions", mine).json()["results"] if not each["current"]
    ]
    assert ask(client, "DELETE", f"/api/sessions/{lost}", foreign).status_code == 404
    assert ask(client, "DELETE", "/api/sessions/none", mine).status_code == 404
    assert client.delete(f"/api/sessions/{lost}").status_code == 401
    runtime().revocations.read_sessions()
    assert ask(client, "GET", "/api/sessions", other).status_code == 200
    assert ask(client, "DELETE", f"/api/sessions/{lost}", mine).status_code == 204
    assert ask(client, "DELETE", f"/api/sessions/{lost}", mine).status_code == 404
    runtime().revocations.read_sessions()
    assert ask(client, "GET", "/api/sessions", other).status_code == 401
    assert refresh(client, other["refresh_token"]).status_code == 401
    assert len(ask(client, "GET", "/api/sessions", mine).json()["results"]) == 1


def test_an_admin_can_end_all_sessions_of_a_user(login: LoginService, client: Client) -> None:
    pairs = [sign_in(client).json() for _ in range(2)]
    admin = sign_in(client, username="admin").json()
    reply = ask(client, "DELETE", "/api/users/2/sessions", pairs[0])
    assert (reply.status_code, reply.json()["detail"]) == (403, "This is for the role admin; yours is default.")
    assert client.delete("/api/users/2/sessions").status_code == 401
    assert ask(client, "DELETE", "/api/v1/users/2/sessions", admin).status_code == 204
    runtime().revocations.read_sessions()
    assert [ask(client, "GET", "/api/sessions", pair).status_code for pair in (*pairs, admin)] == [401, 401, 200]
    assert sign_in(client).status_code == 200


def test_a_reused_token_is_logged(login: LoginService, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    first = sign_in(client).json()
    refresh(client, first["refresh_token"])
    refresh(client, first["refresh_token"])
    (record,) = [each for each in caplog.records if getattr(each, "event", "") == "refresh_token_reused"]
    assert (record.levelname, record.__dict__["user_id"], record.__dict__["session"]) == (
        "WARNING",
        "2",
        Session.objects.get().id,
    )


def test_a_retry_within_the_grace_gets_the_same_successor(login: LoginService, client: Client, settings: Any) -> None:
    settings.REFRESH_GRACE = 60
    first = sign_in(client).json()
    second, again = (refresh(client, first["refresh_token"]).json() for _ in range(2))
    claims = [jwt.decode(each["refresh_token"], options={"verify_signature": False}) for each in (second, again)]
    assert claims[0]["jti"] == claims[1]["jti"]
    third = refresh(client, again["refresh_token"]).json()
    # Only the one before the current is in its grace.
    assert refresh(client, first["refresh_token"]).status_code == 401
    assert refresh(client, third["refresh_token"]).status_code == 401


def test_a_retry_after_the_grace_ends_the_session(
    login: LoginService, client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REFRESH_GRACE = 60
    first = sign_in(client).json()
    refresh(client, first["refresh_token"])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 62)
    assert refresh(client, first["refresh_token"]).status_code == 401
    assert Session.objects.get().ended_at is not None


def test_sessions_without_a_valid_token_are_deleted(login: LoginService, client: Client) -> None:
    for _ in range(4):
        sign_in(client)
    now, hour = timezone.now(), timedelta(hours=1)
    ids = list(Session.objects.order_by("created_at").values_list("id", flat=True))
    Session.objects.filter(id=ids[0]).update(ended_at=now - hour)
    Session.objects.filter(id=ids[1]).update(expires_at=now - hour)
    # Its access token may still be shown: that it ended has to be known.
    Session.objects.filter(id=ids[2]).update(ended_at=now)
    assert sessions.sessions_purge() == 2
    assert set(Session.objects.values_list("id", flat=True)) == {ids[2], ids[3]}


def test_a_sign_in_deletes_expired_sessions_at_most_once_an_hour(login: LoginService, client: Client) -> None:
    sessions.purge.due = 0
    sign_in(client)
    Session.objects.update(expires_at=timezone.now() - timedelta(days=1))
    sign_in(client)
    assert Session.objects.count() == 2
    sessions.purge.due = 0
    sign_in(client)
    assert Session.objects.count() == 2


@pytest.mark.parametrize(("user_id", "status"), [("1", 204), ("2", 204), ("3", 404), ("abc", 404), ("a.b", 404)])
def test_ending_the_sessions_of_an_unknown_user_is_a_404(
    login: LoginService, client: Client, user_id: str, status: int
) -> None:
    admin = sign_in(client, username="admin").json()
    assert ask(client, "DELETE", f"/api/users/{user_id}/sessions", admin).status_code == status


def test_a_user_can_end_all_their_own_sessions(login: LoginService, client: Client) -> None:
    mine, other = sign_in(client).json(), sign_in(client).json()
    foreign = sign_in(client, username="admin").json()
    assert ask(client, "DELETE", "/api/users/me/sessions", mine).status_code == 204
    runtime().revocations.read_sessions()
    statuses = [ask(client, "GET", "/api/sessions", pair).status_code for pair in (mine, other, foreign)]
    assert statuses == [401, 401, 200]


@pytest.mark.parametrize("change", ["changed", "deleted", "unavailable"])
def test_a_change_of_the_user_during_a_login_ends_the_new_session_too(
    login: LoginService, client: Client, change: str
) -> None:
    def end_sessions(path: str) -> None:
        """Change the user once the password has been checked."""
        if path != "/internal/credentials":
            return
        if change == "changed":
            login.users["user"]["session_epoch"] = 1
        elif change == "deleted":
            del login.users["user"]
        else:
            login.broken = Reply.json({}, 503)

    login.before_response = end_sessions
    assert sign_in(client).status_code == (503 if change == "unavailable" else 401)
    assert Session.objects.get().ended_at is not None


def test_a_shorter_lifetime_applies_to_issued_tokens(login: LoginService, client: Client, settings: Any) -> None:
    mine = sign_in(client).json()
    assert ask(client, "GET", "/api/sessions", mine).status_code == 200
    renew()
    settings.SIMPLE_JWT = settings.SIMPLE_JWT | {"ACCESS_TOKEN_LIFETIME": timedelta(seconds=0)}
    assert ask(client, "GET", "/api/sessions", mine).status_code == 401
