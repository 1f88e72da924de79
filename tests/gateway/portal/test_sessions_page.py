"""The page of sessions shows where a user is signed in, and ends what its forms name."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.gateway.login import LoginService
from tests.gateway.portal.browsers import PAGE, send, sign_in
from tests.gateway.service import Service

from gateway.identity.models import Session
from gateway.portal.devices import device

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"


def browser(username: str = "user", agent: str = FIREFOX) -> Client:
    """Return a browser that is signed in."""
    client = Client(raise_request_exception=False, headers={"Host": "testserver", "User-Agent": agent})
    assert sign_in(client, username=username).status_code == 303
    return client


def page(client: Client, path: str = "/sessions/") -> str:
    reply = client.get(path, headers=PAGE)
    assert (reply.status_code, reply["Cache-Control"]) == (200, "no-store")
    return reply.content.decode()


def ids(text: str) -> list[str]:
    return re.findall(r'name="end" value="([0-9a-f]{32})"', text)


def open_sessions(user_id: str = "2") -> int:
    return Session.objects.filter(user_id=user_id, ended_at=None).count()


def test_it_lists_the_user_s_sessions_this_one_first_and_marked(login: LoginService) -> None:
    here, _, _ = browser(), browser(agent=CHROME), browser("admin")
    text = page(here)
    assert re.findall(r"<strong>(.*?)</strong> (?:<span [^>]*>(.*?)</span>)?", text) == [
        ("Firefox on Windows", "this session"), ("Chrome on Linux", ""),
    ]  # fmt: skip
    assert "127.0.0.1" in text


def test_what_a_client_sends_about_itself_is_escaped(login: LoginService) -> None:
    text = page(browser(agent="<script>alert(1)</script>"))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_one_session_ends(login: LoginService) -> None:
    here, there = browser(), browser(agent=CHROME)
    other = ids(page(here))[1]
    reply = send(here, "/sessions/", end=other)
    assert (reply.status_code, reply["Location"]) == (303, "/sessions/?ended=1")
    assert "One session has ended." in page(here, reply["Location"])
    assert [session.ended_at is None for session in Session.objects.filter(id=other)] == [False]
    assert open_sessions() == 1
    assert sum(client.get("/sessions/").status_code == 200 for client in (here, there)) >= 1


def test_all_others_end_and_this_one_goes_on(login: LoginService) -> None:
    here, _, _, admin = browser(), browser(), browser(), browser("admin")
    assert send(here, "/sessions/", end="others")["Location"] == "/sessions/?ended=2"
    assert (open_sessions(), open_sessions("1")) == (1, 1)
    assert len(ids(page(here))) == 1
    assert len(ids(page(admin))) == 1


def test_to_end_this_one_is_to_sign_out(login: LoginService) -> None:
    here = browser()
    reply = send(here, "/sessions/", end=ids(page(here))[0])
    assert reply["Location"] == "/login/?signed-out"
    assert all(cookie["max-age"] == 0 for cookie in reply.cookies.values())
    assert open_sessions() == 0


def test_another_user_s_session_does_not_end(login: LoginService) -> None:
    here, admin = browser(), browser("admin")
    other = ids(page(admin))[0]
    assert send(here, "/sessions/", end=other)["Location"] == "/sessions/?ended=0"
    assert send(here, "/sessions/", end=other, user="1").status_code == 403
    assert send(here, "/sessions/", end="others", user="1").status_code == 403
    assert here.get("/sessions/?user=1", headers=PAGE).status_code == 403
    assert open_sessions("1") == 1


def test_an_admin_sees_and_ends_anyone_s(login: LoginService) -> None:
    admin, _, _ = browser("admin"), browser(), browser()
    text = page(admin, "/sessions/?user=2")
    assert "Sessions of user 2" in text
    assert "this session" not in text
    assert send(admin, "/sessions/", end=ids(text)[0], user="2")["Location"] == "/sessions/?ended=1&user=2"
    assert send(admin, "/sessions/", end="others", user="2").status_code == 303
    assert (open_sessions("2"), open_sessions("1")) == (0, 1)


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_site_ends_nothing(login: LoginService, headers: dict[str, str]) -> None:
    here = browser()
    assert send(here, "/sessions/", headers, end="others").status_code == 403
    assert send(here, "/sessions/", headers, end=ids(page(here))[0]).status_code == 403
    assert open_sessions() == 1


def test_a_visitor_is_sent_to_the_sign_in(login: LoginService, client: Client) -> None:
    reply = client.get("/sessions/", headers=PAGE)
    assert (reply.status_code, reply["Location"]) == (303, "/login/?next=/sessions/")
    assert send(client, "/sessions/", end="others").status_code == 401


@pytest.mark.parametrize(("named", "is_linked"), [("/api/password", True), ("/api/nothing", False), (None, False)])
def test_it_links_to_the_page_that_changes_the_password(
    login: LoginService, serve: Callable[..., Service], configure: Callable[..., None], named: str, is_linked: bool
) -> None:
    configure(
        services={"people": {"url": serve(login).url}},
        login={"service": "people"} | ({"change_password": named} if named else {}),
        routes=[{"path": "/api/password", "methods": ["POST"], "service": "people", "allow": "authenticated"}],
    )
    text = page(browser())
    assert ("Change password" in text) == is_linked
    assert ('href="/api/password"' in text) == is_linked


DEVICES: dict[str, Any] = {
    FIREFOX: "Firefox on Windows",
    CHROME: "Chrome on Linux",
    CHROME + " Edg/140.0": "Edge on Linux",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1": "Safari on iPhone",
    "curl/8.5.0": "curl",
    "python-requests/2.32": "Python",
    "MyApp/1.0": "MyApp/1.0",
    "": "Unknown program",
}


@pytest.mark.parametrize("agent", DEVICES)
def test_a_device_has_a_name(agent: str) -> None:
    assert device(agent) == DEVICES[agent]
