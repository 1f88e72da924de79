"""Who may use the admin, and what its pages may do in a browser."""

import re

import pytest
from django.test import Client

from chassis.passports import backend
from chassis.problems import Unavailable
from users import services, store
from users.models import User

from .admin_pages import FORM, LIST, page, passport
from .conftest import PASSWORD

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("username", "claims", "status"),
    [
        ("root", {}, 200), ("root", {"role": "default"}, 403), ("eva", {"role": "default"}, 403), ("eva", {}, 403),
        ("former", {}, 403), ("unknown", {}, 403), ("root", {"role": "service"}, 403),
        ("root", {"audience": "orders"}, 401), ("root", {"exp": 1}, 401), ("root", {"token_type": "access"}, 401),
    ],
)  # fmt: skip
def test_only_an_active_admin_s_passport_opens_the_admin(admin, make, issuer, username, claims, status):
    ids = {"root": admin.pk, "unknown": 99}
    ids["eva"] = make("eva").pk
    ids["former"] = make("former", user_type="admin", is_active=False).pk
    reply = Client(headers=passport(issuer, ids[username], **claims)).get(LIST)
    assert reply.status_code == status
    if status != 200:
        assert reply.headers["Content-Type"] == "application/problem+json"


def test_without_a_passport_there_is_no_way_in(admin):
    client = Client()
    for path in ("/admin/", LIST, "/admin/login/"):
        assert client.get(path).status_code == 401
    assert client.post("/admin/login/", {"username": "root", "password": PASSWORD}).status_code == 401
    assert client.get("/admin/", headers={"Request-User-Id": str(admin.pk)}).status_code == 401
    # Signed in by Django's own session, which is no longer possible.
    client.force_login(admin)
    assert client.get(LIST).status_code == 401


def test_the_passport_counts_and_not_a_session(admin, make, issuer):
    other = make("other", user_type="admin")
    client = Client(headers=passport(issuer, other.pk))
    client.force_login(admin)
    assert ">other</span>" in page(client.get("/admin/"))
    assert client.post(f"{LIST}add/", FORM | {"password": "another horse 2"}).status_code == 302
    assert User.objects.get(username="ada").created_by == other.pk
    eva = make("eva")
    client.defaults |= Client(headers=passport(issuer, eva.pk, "default")).defaults
    assert client.get(LIST).status_code == 403


def test_a_user_id_other_than_the_passports_is_rejected(admin, make, issuer):
    other = make("other", user_type="admin")
    headers = passport(issuer, other.pk) | {"Request-User-Id": str(admin.pk)}
    assert Client(headers=headers).get(LIST).status_code == 401


def test_keys_that_cannot_be_fetched_are_503(admin, issuer):
    backend.cache_clear()
    with issuer.answering(b"{}", 500):
        assert Client(headers=passport(issuer, admin.pk)).get(LIST).status_code == 503
    backend.cache_clear()


def test_the_gateway_signs_out(browser):
    assert 'method="post" action="/logout/"' in page(browser.get("/admin/"))
    assert browser.get("/admin/logout/").headers["Location"] == "/logout/"
    assert browser.get("/admin/login/").headers["Location"] == "/admin/"


@pytest.mark.parametrize("path", ["/admin/", LIST, f"{LIST}add/", "/admin/static/admin/css/base.css", "/admin/nothing"])
def test_every_page_has_security_headers(browser, path):
    response = browser.get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Strict-Transport-Security" not in response.headers
    response.close()
    secure = browser.get("/admin/", headers={"X-Forwarded-Proto": "https"})
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_an_admin_who_is_demoted_is_out_at_once(browser, admin, make):
    make("other", user_type="admin")
    services.user_update(user_id=admin.pk, actor=0, user_type="default")
    assert browser.get(LIST).status_code == 403


def test_a_form_of_another_site_is_rejected(admin, issuer):
    client = Client(enforce_csrf_checks=True, headers=passport(issuer, admin.pk))
    form = FORM | {"password": "another horse 2"}
    assert client.post(f"{LIST}add/", form).status_code == 403
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page(client.get(f"{LIST}add/")))[1]
    forwarded = {"X-Forwarded-Host": "api.example.org", "X-Forwarded-Proto": "https"}
    for origin, status in (("https://evil.example", 403), ("https://api.example.org", 302)):
        headers = forwarded | {"Origin": origin}
        answer = client.post(f"{LIST}add/", form | {"csrfmiddlewaretoken": token}, headers=headers)
        assert answer.status_code == status


def test_the_static_files_are_served_below_the_admin():
    response = Client().get("/admin/static/admin/css/base.css")
    assert (response.status_code, response.headers["Content-Type"]) == (200, 'text/css; charset="utf-8"')
    response.close()


def test_a_browser_keeps_the_admins_static_files(browser):
    urls = re.findall(r'(?:href|src)="(/admin/static/[^"]+\.(?:css|js|svg)[^"]*)"', page(browser.get(LIST)))
    assert len(urls) > 5
    for url in urls:
        response = browser.get(url)
        assert (url, response["Cache-Control"]) == (url, "max-age=31536000, public, immutable")
        response.close()


def test_a_problem_is_a_page_in_a_browser(browser, admin, make, issuer, monkeypatch):
    def broken(self) -> None:
        raise Unavailable("<b>Not now.</b>")

    monkeypatch.setattr(type(store.current()), "catch_up", broken)
    for method in (browser.get, browser.post):
        answer = method(f"{LIST}?q=a%22b", headers=PAGE)
        text = answer.content.decode()
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert "&lt;b&gt;Not now.&lt;/b&gt;" in text
        assert ('href="/admin/users/user/?q=a%22b">Try again' in text) == (method == browser.get)
        assert answer.headers["X-Request-ID"] in text
        assert "Content-Security-Policy" in answer.headers
    assert browser.get(LIST, headers={"Accept": "*/*"}).json()["detail"] == "<b>Not now.</b>"
    monkeypatch.undo()
    for path, client, status in (
        ("/admin/nothing", browser, 404),
        (LIST, Client(headers=passport(issuer, make("eva").pk, "default")), 403),
        (LIST, Client(), 401),
    ):
        answer = client.get(path, headers=PAGE)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
