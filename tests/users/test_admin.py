import html
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from chassis.databases import StorageFull
from chassis.passports import backend
from chassis.problems import Conflict, Unavailable
from users import services, store
from users.admin import users as admin_users
from users.models import Deletion, User
from users.store.writer import Writer

from .conftest import PASSWORD, remove

LIST = "/admin/users/user/"
FORM = {"username": "ada", "email": "ada@example.com", "full_name": "Ada", "user_type": "default", "is_active": "on"}


@pytest.fixture
def browser(admin, issuer) -> Client:
    return Client(headers=passport(issuer, admin.pk) | {"Accept": "text/html,*/*;q=0.8"})


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
    assert ">other</span>" in page(client.get("/admin/"))
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
    text = page(browser.get(f"{LIST}add/"))
    assert "The password can’t be too similar to the user’s other personal information." in html.unescape(text)
    assert not re.search(r"\byour\b", text, re.IGNORECASE)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"username": "ROOT"}, "This username is taken."),
        ({"email": "Root@example.com"}, "This email address is taken."),
        ({"username": "a b"}, "Use only ASCII letters"),
        ({"full_name": "a\u202eb"}, "Use printable characters only"),
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
    assert services._OWN in page(browser.post(f"{LIST}{admin.pk}/change/", form))
    assert everything() == before


def test_another_admin_can_be_demoted_here(browser, make):
    other = make("other", user_type="admin")
    form = {"username": "other", "email": "other@example.com", "user_type": "default", "is_active": "on"}
    form["version"] = version(browser, other.pk)
    assert browser.post(f"{LIST}{other.pk}/change/", form).status_code == 302
    assert User.objects.get(pk=other.pk).user_type == "default"


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (Conflict("Taken a moment ago."), 200),
        (Unavailable("Taken a moment ago."), 503),
        (StorageFull("Taken a moment ago."), 507),
    ],
)
def test_what_cannot_be_saved_is_the_form_again_with_why(browser, make, everything, monkeypatch, refusal, status):
    user = make("eva")
    before = everything()

    sent = FORM | {"full_name": "Eva L.", "version": version(browser, user.pk), "password": "another horse 2"}

    def refuse(**kwargs: object) -> None:
        raise refusal

    monkeypatch.setattr(services, "user_update", refuse)
    monkeypatch.setattr(services, "user_create", refuse)
    for path in (f"{LIST}{user.pk}/change/", f"{LIST}add/"):
        answer = browser.post(path, sent)
        assert answer.status_code == status
        text = answer.content.decode()
        assert "Taken a moment ago." in errors(text)
        assert form_of(text)["full_name"] == "Eva L."
    assert everything() == before


def asked_to_delete(browser: Client, user: User) -> tuple[str, dict[str, str]]:
    path = f"{LIST}{user.pk}/delete/"
    text = page(browser.get(path))
    assert "Are you sure" in text
    return path, {"post": "yes", "version": re.search(r'name="version" value="([0-9a-f]+)"', text)[1]}


def test_a_user_is_deleted_here_after_a_question(browser, admin, make):
    user = make("eva")
    path, sent = asked_to_delete(browser, user)
    text = page(browser.get(path))
    assert "eva@example.com, default, active?" in text.replace("Default", "default").replace("Active", "active")
    assert "Their orders stay, and nobody can read them any more" in text
    assert browser.post(path, sent).status_code == 302
    assert not User.objects.filter(pk=user.pk).exists()
    assert Deletion.objects.get().updated_by == admin.pk


@pytest.mark.parametrize("sent", [None, {"post": "yes"}, {"post": "yes", "version": "0"}])
def test_who_was_changed_since_the_question_is_not_deleted_but_asked_for_again(
    browser, make, everything, monkeypatch, sent
):
    user = make("eva")
    path, asked = asked_to_delete(browser, user)
    if sent is None:
        services.user_update(user_id=user.pk, actor=0, user_type="admin")
    before = everything()
    answer = browser.post(path, sent or asked)
    assert (answer.status_code, answer.headers["Location"]) == (302, path)
    text = page(browser.get(path))
    assert "This user was changed since you opened the page." in text
    assert everything() == before


def test_a_deletion_that_does_not_fit_on_the_disk_is_a_message(browser, make, everything, monkeypatch):
    user = make("eva")
    path, sent = asked_to_delete(browser, user)
    before = everything()

    def full(**kwargs: object) -> None:
        raise StorageFull

    monkeypatch.setattr(services, "user_delete", full)
    assert browser.post(path, sent).headers["Location"] == path
    assert "No storage space is left. Nothing was stored." in page(browser.get(path))
    assert everything() == before


def test_nobody_deletes_oneself_here(browser, admin, everything):
    before = everything()
    for method in (browser.get, browser.post):
        assert method(f"{LIST}{admin.pk}/delete/", {"post": "yes"}).headers["Location"] == LIST
    assert services._OWN in said(browser)
    assert everything() == before


def test_a_user_who_is_not_there_is_said_so(browser):
    for action in ("change", "delete"):
        assert browser.get(f"{LIST}99/{action}/").status_code == 302
    assert "doesn’t exist" in said(browser)


def test_an_admin_removed_by_hand_takes_the_log_along(browser, admin, make, record):
    browser.post(f"{LIST}add/", FORM | {"password": "another horse 2"})
    record.write_text("".join(line for line in record.read_text().splitlines(True) if '"root"' not in line))
    store.current().catch_up()
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


def form_of(text: str) -> dict[str, str]:
    """Return what a browser sends of the user's form on that page."""
    form = re.search(r'<form [^>]*id="user_form".*?</form>', text, re.DOTALL)[0]
    sent = {}
    for field in re.findall(r"<input [^>]*>", form):
        found = {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', field)}
        if found.get("type") == "checkbox":
            if re.search(r"\bchecked\b", field):
                sent[found["name"]] = found.get("value", "on")
        elif found.get("type") != "submit":
            sent[found["name"]] = found.get("value", "")
    for name, options in re.findall(r'<select name="(\w+)"(.*?)</select>', form, re.DOTALL):
        sent[name] = re.search(r'value="(\w+)" selected', options)[1]
    return sent


def shown_to(browser: Client, user: User) -> tuple[str, dict[str, str]]:
    path = f"{LIST}{user.pk}/change/"
    return path, form_of(page(browser.get(path)))


def errors(text: str) -> str:
    return html.unescape(re.search(r'<ul class="errorlist nonfield[^>]*>.*?</ul>', text, re.DOTALL)[0])


def test_a_stale_form_names_who_changed_what_and_saves_once_more(browser, make):
    user, other = make("ada"), make("other", user_type="admin")
    path, sent = shown_to(browser, user)
    sent["email"] = "ada@example.org"
    services.user_update(user_id=user.pk, actor=other.pk, full_name="Ada L.")
    text = page(browser.post(path, sent))
    assert "Nothing was saved: other changed this user since you opened the form." in errors(text)
    assert "Full name: “Ada L.”" in errors(text)
    assert User.objects.get(pk=user.pk).email == "ada@example.com"
    again = form_of(text)
    assert (again["email"], again["full_name"]) == ("ada@example.org", "")
    assert browser.post(path, again).status_code == 302
    after = User.objects.get(pk=user.pk)
    assert (after.email, after.full_name) == ("ada@example.org", "")


@pytest.mark.parametrize("why", ["a conflict", "a field", "a name that another has"])
def test_a_password_that_has_to_be_typed_once_more_is_asked_for(browser, admin, make, why):
    user = make("ada")
    path, sent = shown_to(browser, user)
    if why == "a conflict":
        services.user_update(user_id=user.pk, actor=admin.pk, full_name="Ada")
    elif why == "a field":
        sent["email"] = "none"
    else:
        sent["username"] = "ROOT"
    text = page(browser.post(path, sent | {"password": "another horse 2"}))
    assert "Type the password again" in text
    assert "another horse" not in text
    assert "Type the password again" not in page(browser.post(path, sent))
    assert not User.objects.get(pk=user.pk).check_password("another horse 2")


def test_a_changed_password_makes_a_form_stale_too(browser, admin, make):
    user = make("ada")
    path, sent = shown_to(browser, user)
    services.user_update(user_id=user.pk, actor=admin.pk, password="another horse 2")
    text = page(browser.post(path, sent))
    assert "root changed this user since you opened the form. Your values" in errors(text)
    assert browser.post(path, form_of(text)).status_code == 302


def test_a_save_that_another_came_before_at_the_last_moment_is_the_form_again(browser, admin, make, monkeypatch):
    user = make("ada")
    path, sent = shown_to(browser, user)
    update = services.user_update

    def and_before(**values):
        update(user_id=user.pk, actor=admin.pk, full_name="First")
        return update(**values)

    monkeypatch.setattr(services, "user_update", and_before)
    text = page(browser.post(path, sent | {"email": "mine@example.com"}))
    assert "Full name: “First”" in errors(text)
    assert form_of(text)["email"] == "mine@example.com"
    assert User.objects.get(pk=user.pk).email == "ada@example.com"


def test_a_user_deleted_at_the_last_moment_is_said_so(browser, admin, make, monkeypatch):
    user = make("ada")
    path, sent = shown_to(browser, user)
    update = services.user_update

    def and_before(**values):
        services.user_delete(user_id=user.pk, actor=admin.pk)
        return update(**values)

    monkeypatch.setattr(services, "user_update", and_before)
    assert browser.post(path, sent | {"email": "mine@example.com"}).headers["Location"] == path.replace(
        "change", "history"
    )
    assert f"User {user.pk} was deleted." in said(browser)


@pytest.mark.parametrize("query", ["", "?_changelist_filters=q%3Dada%26is_active__exact%3D1"])
def test_save_leads_back_to_the_list_as_it_was(browser, admin, make, query):
    user = make("ada")
    path, sent = shown_to(browser, user)
    answer = browser.post(path + query, sent | {"email": "new@example.com"})
    where = f"{LIST}?q=ada&is_active__exact=1" if query else LIST
    assert (answer.status_code, answer.headers["Location"]) == (302, where)
    assert isinstance(answer.wsgi_request.user, User)
    assert answer.wsgi_request.user.pk == admin.pk
    assert "was changed successfully" in said(browser)
    _, sent = shown_to(browser, user)
    go_on = browser.post(path + query, sent | {"_continue": "1"})
    assert go_on.headers["Location"] == path + query


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
    assert f"Not changed: root. {services._OWN}" in text
    assert set(User.objects.filter(is_active=True).values_list("pk", flat=True)) == {admin.pk, kim}
    assert User.objects.get(pk=eva).session_epoch == 1
    assert "1 of 2 users activated. 1 had been activated before." in act(browser, "activate", eva, kim)
    assert "0 of 2 users activated. 2 had been activated before." in act(browser, "activate", eva, kim)
    assert User.objects.get(pk=eva).is_active
    assert not User.objects.get(pk=ada).is_active


def test_what_is_refused_is_said_once(browser, admin, make):
    text = act(browser, "deactivate", admin.pk)
    assert f"Not changed: root. {services._OWN}" in text
    assert "deactivated." not in text


def test_who_was_deleted_meanwhile_is_named(browser, make, monkeypatch):
    eva, ada = make("eva"), make("ada")
    set_active = services.users_set_active

    def and_before(**values):
        remove(eva)
        return set_active(**values)

    monkeypatch.setattr(services, "users_set_active", and_before)
    text = act(browser, "deactivate", eva.pk, ada.pk)
    assert "Not changed: eva. This user was deleted." in text
    assert "1 of 2 users deactivated." in text


@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_where_nobody_of_those_selected_is_left_that_is_said(browser, make, action):
    eva = make("eva")
    remove(eva)
    text = act(browser, action, eva.pk)
    assert f"No user was {action}d: the selected users are not in the list any more." in text
    assert f"users {action}d" not in text


def test_the_last_admin_of_those_chosen_stays_one(browser, admin, make, issuer):
    """Each is judged with those before deactivated already."""
    others = [make(name, user_type="admin").pk for name in ("a", "b", "c")]
    changed, refused = services.users_set_active(user_ids=[admin.pk, *others], actor=0, is_active=False)
    assert (changed, refused) == (3, {others[-1]: services._LAST_ADMIN})
    assert list(User.objects.active_admins().values_list("pk", flat=True)) == others[-1:]


def test_an_action_that_does_not_fit_on_the_disk_changes_nobody_and_says_so(browser, make, everything, monkeypatch):
    users = [make(name).pk for name in ("eva", "ada", "kim")]
    before = everything()
    put, count = Writer.put, []

    def full(self, user, **values):
        count.append(user)
        if len(count) == 3:
            raise StorageFull
        put(self, user, **values)

    monkeypatch.setattr(Writer, "put", full)
    query = f"{LIST}?user_type__exact=default"
    sent = {"action": "deactivate", "_selected_action": users, "select_across": 0, "index": 0}
    answer = browser.post(query, sent)
    assert (answer.status_code, answer.headers["Location"]) == (302, query)
    text = said(browser)
    assert "No storage space is left. Nothing was stored." in text
    assert "users deactivated" not in text
    assert everything() == before


def test_too_many_at_once_are_none(browser, make, everything, monkeypatch):
    monkeypatch.setattr(admin_users, "MAX_SELECTED", 2)
    for name in ("eva", "ada"):
        make(name)
    before = everything()
    assert "Nothing was changed. Select at most 2 users at once." in act(browser, "deactivate", 1, across=True)
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


def test_a_user_s_page_links_to_their_sessions(browser, make):
    kim = make("kim")
    assert f'<a href="/sessions/?user={kim.pk}">Sessions</a>' in page(browser.get(f"{LIST}{kim.pk}/change/"))


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


def test_a_deleted_user_s_pages_lead_to_their_history(browser, admin, make):
    user = make("eva")
    services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva")
    services.user_delete(user_id=user.pk, actor=admin.pk)
    history = f"{LIST}{user.pk}/history/"
    for action in ("change", "delete"):
        assert browser.get(f"{LIST}{user.pk}/{action}/").headers["Location"] == history
    text = page(browser.get(history))
    assert f"User {user.pk} was deleted. Their history is kept." in text
    assert f"History: user {user.pk}, deleted" in text
    assert re.findall(r"<td>(deleted|created|full_name[^<]*)</td>", text) == ["deleted", "full_name:  → Eva", "created"]
    assert "/change/" not in text.partition('id="content-start"')[2]


@pytest.mark.parametrize("user_id", ["99", "x", "9" * 30])
def test_who_never_was_has_no_history(browser, user_id):
    assert browser.get(f"{LIST}{user_id}/history/").headers["Location"] == "/admin/"


def test_the_list_offers_to_show_all_only_where_something_was_searched_for(browser, make):
    make("eva")
    assert "Show all" not in page(browser.get(LIST))
    for query in ("?q=eva", "?user_type__exact=admin"):
        text = page(browser.get(LIST + query))
        assert re.search(r'1 result \(<a href="\?">Show all</a>\)', text)


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


PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_what_is_wrong_is_a_page_for_people_and_a_problem_for_programs(browser, admin, make, issuer, monkeypatch):
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
