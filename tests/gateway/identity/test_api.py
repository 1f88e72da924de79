"""Login, refresh, logout, the public keys."""

import bz2
import json
from typing import Any

import pytest
from django.test import Client
from tests.gateway.login import LoginService
from tests.gateway.service import Reply

from gateway.identity import keys
from gateway.identity.models import Session
from gateway.identity.revocations import revocations

pytestmark = pytest.mark.django_db


def sign_in(client: Client, **said: str) -> Any:
    return client.post("/api/login", {"username": "user", "password": "secret"} | said, "application/json")


def refresh(client: Client, token: str) -> Any:
    return client.post("/api/token/refresh", {"refresh_token": token}, "application/json")


def test_a_login_answers_a_pair_and_begins_a_session(login: LoginService, client: Client) -> None:
    reply = sign_in(client)
    assert reply.status_code == 200
    pair = reply.json()
    assert set(pair) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (pair["token_type"], pair["expires_in"]) == ("bearer", 900)
    assert reply["Cache-Control"] == "no-store"
    session = Session.objects.get()
    assert (session.user_id, session.ended_at) == ("2", None)
    assert pair["refresh_token"] not in json.dumps(list(Session.objects.values()), default=str)


def test_the_oauth_password_form_signs_in(login: LoginService, client: Client) -> None:
    form = {"grant_type": "password", "username": "user", "password": "secret", "client_id": "", "scope": ""}
    assert client.post("/api/login", form).status_code == 415
    from urllib.parse import urlencode

    reply = client.post("/api/login", urlencode(form), "application/x-www-form-urlencoded")
    assert reply.status_code == 200


def test_the_versioned_path_is_the_same(login: LoginService, client: Client) -> None:
    said = {"username": "user", "password": "secret"}
    assert client.post("/api/v1/login", said, "application/json").status_code == 200
    assert client.post("/api/v2/login", said, "application/json").status_code == 404


@pytest.mark.parametrize("said", [{"password": "wrong"}, {"username": "nobody"}])
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
        (bz2.compress(b'{"username": "user", "password": "secret"}'), "application/json; charset=bz2", 400, None),
        (b"+AHs-", "application/json; charset=utf-7", 400, None),
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


def test_without_a_login_service_there_is_no_login(client: Client, configure: Any) -> None:
    configure()
    assert sign_in(client).status_code == 404


@pytest.mark.parametrize(
    "broken", [Reply.json({}, 500), Reply.json({}, 403), Reply(200, b"no json"), Reply.json({}), Reply.json([])]
)
def test_a_login_service_out_of_order_is_a_502(login: LoginService, client: Client, broken: Reply) -> None:
    login.broken = broken
    assert sign_in(client).status_code == 502


def test_a_refresh_rotates_and_takes_the_current_role(login: LoginService, client: Client, settings: Any) -> None:
    import jwt

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
    revocations().read_sessions()
    reply = client.get("/api/things", headers={"Authorization": f"Bearer {second['access_token']}"})
    assert reply.status_code == 401


def test_a_refresh_of_a_deleted_user_is_refused(login: LoginService, client: Client) -> None:
    first = sign_in(client).json()
    del login.users["user"]
    assert refresh(client, first["refresh_token"]).status_code == 401


def test_a_refresh_while_the_login_service_is_away_does_not_use_the_token_up(
    login: LoginService, client: Client
) -> None:
    first = sign_in(client).json()
    login.broken = Reply.json({}, 503)
    assert refresh(client, first["refresh_token"]).status_code == 502
    login.broken = None
    assert refresh(client, first["refresh_token"]).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_what_is_no_refresh_token_is_refused(login: LoginService, client: Client, token: str) -> None:
    assert refresh(client, token).status_code == (401 if token else 400)


def test_an_access_token_is_no_refresh_token(login: LoginService, client: Client) -> None:
    assert refresh(client, sign_in(client).json()["access_token"]).status_code == 401


def test_a_logout_ends_the_session_and_no_other(login: LoginService, client: Client) -> None:
    mine, other = sign_in(client).json(), sign_in(client).json()
    reply = client.post("/api/logout", headers={"Authorization": f"Bearer {mine['access_token']}"})
    assert reply.status_code == 204
    assert "Content-Length" not in reply
    revocations().read_sessions()
    for pair, status in ((mine, 401), (other, 204)):
        reply = client.post("/api/logout", headers={"Authorization": f"Bearer {pair['access_token']}"})
        assert reply.status_code == status
    assert refresh(client, mine["refresh_token"]).status_code == 401


def test_a_logout_wants_a_session(login: LoginService, client: Client) -> None:
    reply = client.post("/api/logout")
    assert reply.status_code == 401
    assert reply["WWW-Authenticate"].startswith("Bearer")


def test_the_public_keys_are_published(client: Client, configure: Any) -> None:
    configure()
    reply = client.get("/.well-known/jwks.json")
    assert reply.json() == keys.ring().jwks()
    assert "max-age" in reply["Cache-Control"]
