import re

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from users import admin as users_admin
from users import services
from users.models import Deletion, User
from users.passports import backend
from users.problems import Conflict

from .conftest import PASSWORD

LIST = "/admin/users/user/"
FORM = {"username": "ada", "email": "ada@example.com", "full_name": "Ada", "user_type": "default", "is_active": "on"}


@pytest.fixture
def browser(admin, issuer) -> Client:
    return Client(headers=passport(issuer, admin.pk))


def passport(issuer, user_id: int, role: str = "admin", **claims: object) -> dict[str, str]:
    made = issuer.passport(user_id, **{"audience": "users", "role": role} | claims)
    return {"Authorization": f"Bearer {made}", "Request-User-Id": str(user_id)}


def page(response) -> str:
    assert response.status_code == 200, response.content
    text = response.content.decode()
    assert "argon2" not in text
    return text


def version(browser: Client, user_id: int) -> str:
    """Return what the form of the user says hidden."""
    return re.search(r'name="version" value="([0-9a-f]+)"', page(browser.get(f"{LIST}{user_id}/change/")))[1]


def said(browser: Client) -> str:
    return page(browser.get(LIST))


@pytest.mark.parametrize(
    ("username", "claims", "status"),
    [
        ("root", {}, 200),
        ("root", {"role": "default"}, 403),
        ("eva", {"role": "default"}, 403),
        ("eva", {}, 403),
        ("former", {}, 403),
        ("nobody", {}, 403),
        ("root", {"role": "service"}, 403),
        ("root", {"audience": "orders"}, 401),
        ("root", {"exp": 1}, 401),
        ("root", {"token_type": "access"}, 401),
    ],
)
def test_only_an_active_admin_s_passport_opens_the_admin(admin, make, issuer, username, claims, status):
    ids = {"root": admin.pk, "nobody": 99}
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
    # Signed in by Django's own session, as nobody can be any more.
    client.force_login(admin)
    assert client.get(LIST).status_code == 401


def test_the_passport_is_who_asks_whatever_a_session_says(admin, make, issuer):
    other = make("other", user_type="admin")
    client = Client(headers=passport(issuer, other.pk))
    client.force_login(admin)
    assert "<strong>other</strong>" in page(client.get("/admin/"))
    assert client.post(f"{LIST}add/", FORM | {"password": "another horse 2"}).status_code == 302
    assert User.objects.get(username="ada").created_by == other.pk
    eva = make("eva")
    client.defaults |= Client(headers=passport(issuer, eva.pk, "default")).defaults
    assert client.get(LIST).status_code == 403


def test_an_id_that_is_not_the_passport_s_is_refused(admin, make, issuer):
    other = make("other", user_type="admin")
    headers = passport(issuer, other.pk) | {"Request-User-Id": str(admin.pk)}
    assert Client(headers=headers).get(LIST).status_code == 401


def test_keys_that_cannot_be_fetched_are_our_fault(admin, issuer):
    backend.cache_clear()
    with issuer.answering(b"{}", 500):
        assert Client(headers=passport(issuer, admin.pk)).get(LIST).status_code == 503
    backend.cache_clear()


def test_the_way_out_is_the_gateway_s(browser):
    assert 'method="post" action="/logout/"' in page(browser.get("/admin/"))
    assert browser.get("/admin/logout/").headers["Location"] == "/logout/"
    assert browser.get("/admin/login/").headers["Location"] == "/admin/"


@pytest.mark.parametrize("path", ["/admin/", LIST, f"{LIST}add/", "/admin/static/admin/css/base.css", "/admin/nothing"])
def test_every_page_says_what_a_browser_may_do(browser, path):
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


def test_the_pages_show_users_and_never_a_hash(browser, admin, make):
    make("eva")
    assert "eva@example.com" in page(browser.get(LIST))
    assert "eva@example.com" in page(browser.get(f"{LIST}?q=EVA"))
    text = page(browser.get(f"{LIST}{admin.pk}/change/"))
    assert "root@example.com" in text
    assert 'type="password"' in text
    page(browser.get(f"{LIST}add/"))
    page(browser.get("/admin/"))


@pytest.mark.parametrize(
    "asked",
    ["password__startswith=argon2", "password__regex=^a", "username__regex=(", "username=root", "logentry__id=1"],
)
def test_a_list_is_asked_for_nothing_but_what_its_filters_ask(browser, asked):
    assert browser.get(f"{LIST}?{asked}").status_code == 400


@pytest.mark.parametrize(
    "asked", ["user_type__exact=admin", "is_active__exact=1", "created_at__gte=2020-01-01T00:00:00Z", "q=root"]
)
def test_a_list_is_asked_for_what_its_filters_ask(browser, asked):
    assert "root@example.com" in page(browser.get(f"{LIST}?{asked}"))


@pytest.mark.parametrize("action", ["activate", "deactivate"])
@pytest.mark.parametrize("selected", ["abc", "\0", "9" * 25, "-1", ""])
def test_an_action_takes_ids_of_users_alone(browser, action, selected):
    form = {"action": action, "index": "0", "_selected_action": selected}
    assert browser.post(LIST, form).status_code == 400


def test_a_user_made_here_is_stored(browser, admin):
    answer = browser.post(f"{LIST}add/", FORM | {"password": "another horse 2"})
    assert answer.status_code == 302, answer.content
    user = User.objects.get(username="ada")
    assert (user.created_by, user.full_name) == (admin.pk, "Ada")
    assert user.check_password("another horse 2")
    assert LogEntry.objects.get().object_id == str(user.pk)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"username": "ROOT"}, "A user of this name exists already."),
        ({"email": "Root@example.com"}, "A user with this email exists already."),
        ({"username": "a b"}, "Expected only ASCII letters"),
        ({"full_name": "a\u202eb"}, "Expected printable characters only"),
        ({"password": "short"}, "This password is too short"),
        ({"password": "ada@example.com"}, "The password is too similar"),
        ({"password": "x1" * 65}, "at most 128 characters"),
        ({"password": ""}, "This field is required"),
    ],
)
def test_a_bad_user_is_explained_in_the_form(browser, everything, change, message):
    before = everything()
    assert message in page(browser.post(f"{LIST}add/", FORM | {"password": "another horse 2"} | change))
    assert everything() == before


def test_a_change_here_is_stored_and_an_empty_password_changes_none(browser, make):
    user = make("eva")
    path = f"{LIST}{user.pk}/change/"
    sent = FORM | {"password": "", "version": version(browser, user.pk)}
    assert browser.post(path, sent).status_code == 302
    after = User.objects.get(pk=user.pk)
    assert (after.username, after.password, after.session_epoch) == ("ada", user.password, 0)
    sent = FORM | {"password": "another horse 2", "version": version(browser, user.pk)}
    assert browser.post(path, sent).status_code == 302
    after = User.objects.get(pk=user.pk)
    assert after.check_password("another horse 2")
    assert after.session_epoch == 1


@pytest.mark.parametrize("change", [{"user_type": "default"}, {"is_active": ""}])
def test_nobody_demotes_oneself_here(browser, admin, everything, change):
    form = {"username": "root", "email": "root@example.com", "user_type": "admin", "is_active": "on"} | change
    form["version"] = version(browser, admin.pk)
    before = everything()
    assert services.OWN in page(browser.post(f"{LIST}{admin.pk}/change/", form))
    assert everything() == before


def test_another_admin_can_be_demoted_here(browser, make):
    other = make("other", user_type="admin")
    form = {"username": "other", "email": "other@example.com", "user_type": "default", "is_active": "on"}
    form["version"] = version(browser, other.pk)
    assert browser.post(f"{LIST}{other.pk}/change/", form).status_code == 302
    assert User.objects.get(pk=other.pk).user_type == "default"


def test_a_rule_that_is_broken_between_the_form_and_the_save_is_a_message(browser, make, everything, monkeypatch):
    user = make("eva")
    before = everything()

    sent = FORM | {"version": version(browser, user.pk)}

    def conflict(**kwargs: object) -> None:
        raise Conflict("Taken a moment ago.")

    monkeypatch.setattr(services, "user_update", conflict)
    answer = browser.post(f"{LIST}{user.pk}/change/", sent)
    assert (answer.status_code, answer.headers["Location"]) == (302, LIST)
    assert "Taken a moment ago." in said(browser)
    assert everything() == before


def test_a_user_is_deleted_here_after_a_question(browser, admin, make):
    user = make("eva")
    path = f"{LIST}{user.pk}/delete/"
    assert "Are you sure" in page(browser.get(path))
    assert browser.post(path, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=user.pk).exists()
    assert Deletion.objects.get().deleted_by == admin.pk


def test_nobody_deletes_oneself_here(browser, admin, everything):
    before = everything()
    for method in (browser.get, browser.post):
        assert method(f"{LIST}{admin.pk}/delete/", {"post": "yes"}).status_code == 302
    assert services.OWN in said(browser)
    assert everything() == before
    assert not LogEntry.objects.exists()


def test_a_user_who_is_not_there_is_said_so(browser):
    for action in ("change", "delete"):
        assert browser.get(f"{LIST}99/{action}/").status_code == 302
    assert "doesn’t exist" in said(browser)


def test_what_a_deleted_admin_did_goes_with_the_admin(browser, admin, make, state):
    browser.post(f"{LIST}add/", FORM | {"password": "another horse 2"})
    other = make("other", user_type="admin")
    assert LogEntry.objects.exists()
    services.user_delete(user_id=admin.pk, actor=other.pk)
    assert not LogEntry.objects.exists()


def test_an_admin_removed_by_hand_takes_the_log_along(browser, admin, make, record):
    from users import journal

    browser.post(f"{LIST}add/", FORM | {"password": "another horse 2"})
    record.write_text("".join(line for line in record.read_text().splitlines(True) if '"root"' not in line))
    journal.catch_up()
    assert not LogEntry.objects.exists()
    assert list(User.objects.values_list("username", flat=True)) == ["ada"]


def test_a_form_of_another_site_is_refused_and_one_of_ours_is_not(admin, issuer):
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


# Two who edit one user


def test_a_save_over_what_was_not_seen_is_an_error_that_says_what_and_who(browser, admin, make):
    user, other = make("ada"), make("other", user_type="admin")
    sent = FORM | {"full_name": "Ada L.", "version": version(browser, user.pk)}
    services.user_update(user_id=user.pk, actor=other.pk, email="new@example.com")
    path = f"{LIST}{user.pk}/change/"
    text = page(browser.post(path, sent))
    assert "Nothing was saved: this user was changed meanwhile." in text
    assert "by other: email: ada@example.com → new@example.com" in text
    assert 'value="Ada L."' in text
    assert User.objects.get(pk=user.pk).full_name == ""
    seen = re.search(r'name="version" value="([0-9a-f]+)"', text)[1]
    assert seen == User.objects.get(pk=user.pk).version
    assert browser.post(path, sent | {"version": seen}).status_code == 302
    assert User.objects.get(pk=user.pk).full_name == "Ada L."


def test_a_save_that_another_came_before_at_the_last_moment_is_a_message(browser, admin, make, monkeypatch):
    user = make("ada")
    sent = FORM | {"version": version(browser, user.pk)}
    update = services.user_update

    def and_before(**values):
        update(user_id=user.pk, actor=admin.pk, full_name="First")
        return update(**values)

    monkeypatch.setattr(services, "user_update", and_before)
    assert browser.post(f"{LIST}{user.pk}/change/", sent).status_code == 302
    assert "This user was changed since you saw them" in said(browser)
    assert User.objects.get(pk=user.pk).full_name == "First"


def test_a_form_without_its_version_saves_nothing(browser, make, everything):
    user = make("ada")
    before = everything()
    assert "This field is required" in page(browser.post(f"{LIST}{user.pk}/change/", FORM))
    assert everything() == before


# Many at once


def act(browser: Client, action: str, *ids: int, across: bool = False) -> str:
    sent = {"action": action, "_selected_action": ids, "select_across": int(across), "index": 0}
    answer = browser.post(LIST, sent)
    assert (answer.status_code, answer.headers["Location"]) == (302, LIST), answer.content
    return said(browser)


def test_many_are_deactivated_and_activated_and_whoever_may_not_be_is_named(browser, admin, make):
    eva, ada, kim = (make(name).pk for name in ("eva", "ada", "kim"))
    text = act(browser, "deactivate", eva, ada, admin.pk)
    assert "2 of 3 users deactivated." in text
    assert f"Not changed: root. {services.OWN}" in text
    assert set(User.objects.filter(is_active=True).values_list("pk", flat=True)) == {admin.pk, kim}
    assert User.objects.get(pk=eva).session_epoch == 1
    assert "1 of 2 users activated. 1 had been so before." in act(browser, "activate", eva, kim)
    assert "0 of 2 users activated. 2 had been so before." in act(browser, "activate", eva, kim)
    assert User.objects.get(pk=eva).is_active
    assert not User.objects.get(pk=ada).is_active


def test_who_was_deleted_meanwhile_is_named(browser, make, monkeypatch):
    eva, ada = make("eva"), make("ada")
    update = services.user_update

    def and_before(*, user_id, **values):
        User.objects.get(pk=eva.pk).delete() if user_id == eva.pk else None
        return update(user_id=user_id, **values)

    monkeypatch.setattr(services, "user_update", and_before)
    text = act(browser, "deactivate", eva.pk, ada.pk)
    assert "Not changed: eva, who was deleted meanwhile." in text
    assert "1 of 2 users deactivated." in text


@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_where_nobody_of_those_selected_is_left_that_is_said(browser, make, action):
    eva = make("eva")
    eva.delete()
    text = act(browser, action, eva.pk)
    assert f"Nobody was {action}d: none of those selected is in the list any more." in text
    assert f"users {action}d" not in text


def test_too_many_at_once_are_none(browser, make, everything, monkeypatch):
    monkeypatch.setattr(users_admin, "AT_ONCE", 2)
    for name in ("eva", "ada"):
        make(name)
    before = everything()
    assert "Expected at most 2 users at once. None was changed." in act(browser, "deactivate", 1, across=True)
    assert everything() == before


def test_many_are_not_deleted_at_once(browser, make, everything):
    user = make("eva")
    before = everything()
    sent = {"action": "delete_selected", "_selected_action": [user.pk], "index": 0, "post": "yes"}
    assert browser.post(LIST, sent).status_code in {200, 302}
    assert everything() == before


# The list, and histories


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["kim", "ada", "eva", "root"]),
        ("?o=1", ["ada", "eva", "kim", "root"]),
        ("?o=-2", ["root", "kim", "eva", "ada"]),
        ("?o=6", ["root", "eva", "ada", "kim"]),
        ("?q=EV", ["eva"]),
        ("?q=example.com+ada", ["ada"]),
        ("?q=%00", []),
        ("?user_type__exact=admin", ["root"]),
        ("?is_active__exact=0", ["kim"]),
        ("?created_at__gte=2020-01-01+00%3A00%3A00%2B00%3A00", ["kim", "ada", "eva", "root"]),
        ("?created_at__lt=2020-01-01+00%3A00%3A00%2B00%3A00", []),
        ("?p=9", ["kim", "ada", "eva", "root"]),
    ],
)
def test_the_list_is_searched_filtered_and_sorted(browser, make, query, found):
    make("eva")
    make("ada")
    make("kim", is_active=False)
    answer = browser.get(LIST + query)
    if answer.status_code == 302:  # what nobody can have asked for: Django's list from the beginning
        assert "e=1" in answer.headers["Location"]
        return
    assert re.findall(r'change/[^"]*">([a-z]+)</a>', page(answer)) == found


@pytest.mark.parametrize(
    "query", ["user_type__exact=%00", "created_at__gte=x", "id__lt=x", "password__startswith=a", "o=99"]
)
def test_a_list_that_cannot_be_is_no_fault_of_the_service(browser, query):
    assert browser.get(f"{LIST}?{query}").status_code in {200, 302, 400}


def test_the_history_page_tells_of_each_change_and_never_of_a_password(browser, admin, make):
    user = make("eva", created_by=admin.pk)
    services.user_update(user_id=user.pk, actor=7, full_name="<b>Eva</b>", password="another horse 2")
    text = page(browser.get(f"{LIST}{user.pk}/history/"))
    assert "full_name:  → &lt;b&gt;Eva&lt;/b&gt;<br>password changed" in text
    assert "user 7" in text
    assert "root" in text
    assert "created" in text
    assert "horse" not in text
    page(browser.get(f"{LIST}{admin.pk}/history/"))
    assert browser.get(f"{LIST}99/history/").status_code == 302


def test_the_page_of_a_user_says_who_made_them(browser, admin, make):
    user = make("eva", created_by=admin.pk)
    assert re.search(r"Created by.*?root", page(browser.get(f"{LIST}{user.pk}/change/")), re.DOTALL)
    assert "the service" in page(browser.get(f"{LIST}{admin.pk}/change/"))


def test_ones_own_password_is_changed_on_ones_own_page_and_one_stays_signed_in(admin, issuer):
    browser = Client(headers=passport(issuer, admin.pk, sid="s-1"))
    path = f"{LIST}{admin.pk}/change/"
    assert browser.get("/admin/password_change/").headers["Location"] == path
    assert Client().get("/admin/password_change/").status_code == 401
    sent = {"username": "root", "email": "root@example.com", "user_type": "admin", "is_active": "on"}
    sent |= {"password": "another horse 2", "version": version(browser, admin.pk)}
    assert browser.post(path, sent).status_code == 302
    after = User.objects.get()
    assert after.check_password("another horse 2")
    assert (after.session_epoch, after.kept_session) == (1, "s-1")
    text = page(browser.get(f"{LIST}{admin.pk}/history/"))
    assert re.search(r"<td>root</td>\s*<td>password changed</td>", text)


@pytest.mark.record
@pytest.mark.parametrize("query", ["", "?o=1", "?o=-1", "?o=2", "?o=-2", "?o=6", "?o=-6"])
def test_a_page_of_the_list_is_a_walk_along_an_index(browser, query):
    """Not a sort of all users, of which there may be 100,000."""
    with CaptureQueriesContext(connection) as captured:
        page(browser.get(LIST + query))
    lists = [item["sql"] for item in captured if "ORDER BY" in item["sql"] and '"users_user"' in item["sql"]]
    assert lists
    with connection.cursor() as cursor:
        for sql in lists:
            plan = [row[-1] for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan
