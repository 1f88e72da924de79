"""The pages of one user in the admin: create, change, delete, history."""

import re

import pytest
from django.test import Client

from chassis.databases import StorageFull
from chassis.problems import Conflict, Unavailable
from users import services
from users.models import Deletion, User

from .admin_pages import FORM, LIST, errors, form_of, page, passport, said, shown_to, version


def test_the_pages_show_users_and_never_a_hash(browser, admin, make):
    make("eva")
    assert "eva@example.com" in page(browser.get(LIST))
    assert "eva@example.com" in page(browser.get(f"{LIST}?q=EVA"))
    text = page(browser.get(f"{LIST}{admin.pk}/change/"))
    assert "root@example.com" in text
    assert 'type="password"' in text
    assert "at least 8 characters" in page(browser.get(f"{LIST}add/"))
    page(browser.get("/admin/"))


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
def test_admins_do_not_demote_themselves(browser, admin, everything, change):
    form = {"username": "root", "email": "root@example.com", "user_type": "admin", "is_active": "on"} | change
    form["version"] = version(browser, admin.pk)
    before = everything()
    assert services._OWN in page(browser.post(f"{LIST}{admin.pk}/change/", form))
    assert everything() == before


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Conflict("Taken a moment ago."), 200),
        (Unavailable("Taken a moment ago."), 503),
        (StorageFull("Taken a moment ago."), 507),
    ],
)
def test_a_failed_save_shows_the_reason(browser, make, everything, monkeypatch, reason, status):
    """A conflict beside what was typed, which for the others is on the page before."""
    user = make("eva")
    before = everything()
    sent = FORM | {"full_name": "Eva L.", "version": version(browser, user.pk), "password": "another horse 2"}

    def refuse(**kwargs: object) -> None:
        raise reason

    monkeypatch.setattr(services, "user_update", refuse)
    monkeypatch.setattr(services, "user_create", refuse)
    for path in (f"{LIST}{user.pk}/change/", f"{LIST}add/"):
        answer = browser.post(path, sent)
        text = answer.content.decode()
        assert answer.status_code == status
        assert "Taken a moment ago." in text
        assert status == 200 or "Back shows it" in text
        assert status != 200 or form_of(text)["full_name"] == "Eva L."
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
    assert "Their orders are kept but unreadable" in text
    assert browser.post(path, sent).status_code == 302
    assert not User.objects.filter(pk=user.pk).exists()
    assert Deletion.objects.get().updated_by == admin.pk


@pytest.mark.parametrize("sent", [None, {"post": "yes"}, {"post": "yes", "version": "0"}])
def test_a_user_changed_since_the_question_is_not_deleted(browser, make, everything, monkeypatch, sent):
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


def test_admins_do_not_delete_themselves(browser, admin, everything):
    before = everything()
    path, sent = asked_to_delete(browser, admin)
    assert browser.post(path, sent).headers["Location"] == path
    assert services._OWN in said(browser)
    assert everything() == before


def test_a_missing_user_is_a_message(browser):
    for action in ("change", "delete"):
        assert browser.get(f"{LIST}99/{action}/").status_code == 302
    assert "doesn’t exist" in said(browser)


def test_a_stale_form_names_the_change_and_can_be_saved_again(browser, make):
    user, other = make("ada"), make("other", user_type="admin")
    path, sent = shown_to(browser, user)
    sent["email"] = "ada@example.org"
    services.user_update(user_id=user.pk, actor=other.pk, full_name="Ada L.")
    text = page(browser.post(path, sent))
    assert "Nothing was saved: other changed this user since you opened the form." in errors(text)
    assert User.objects.get(pk=user.pk).email == "ada@example.com"
    again = form_of(text)
    assert (again["email"], again["full_name"]) == ("ada@example.org", "")
    assert browser.post(path, again).status_code == 302
    after = User.objects.get(pk=user.pk)
    assert (after.email, after.full_name) == ("ada@example.org", "")


@pytest.mark.parametrize("why", ["a conflict", "a field", "a name that another has"])
def test_an_invalid_form_asks_for_the_password_again(browser, admin, make, why):
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


def test_a_user_deleted_while_saving_is_a_message(browser, admin, make, monkeypatch):
    user = make("ada")
    path, sent = shown_to(browser, user)
    update = services.user_update

    def and_before(**values):
        services.user_delete(user_id=user.pk, actor=admin.pk)
        return update(**values)

    monkeypatch.setattr(services, "user_update", and_before)
    assert "This user was deleted." in errors(page(browser.post(path, sent | {"email": "mine@example.com"})))


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


def test_a_user_s_page_links_to_their_sessions_and_failed_sign_ins(browser, make):
    kim = make("kim+1")
    text = page(browser.get(f"{LIST}{kim.pk}/change/"))
    assert f'<a href="/sessions/?user={kim.pk}">Sessions</a>' in text
    assert '<a href="/gateway/audit/?event=sign_in_failed&amp;user=kim%2B1">Failed sign-ins</a>' in text


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


@pytest.mark.parametrize("user_id", ["99", "x", "9" * 30])
def test_an_unknown_user_has_no_history(browser, user_id):
    assert browser.get(f"{LIST}{user_id}/history/").headers["Location"] == "/admin/"


def test_the_page_of_a_user_names_the_creator(browser, admin, make):
    user = make("eva", created_by=admin.pk)
    assert re.search(r"Created by.*?root", page(browser.get(f"{LIST}{user.pk}/change/")), re.DOTALL)
    assert "the service" in page(browser.get(f"{LIST}{admin.pk}/change/"))


def test_admins_change_their_own_password_and_stay_signed_in(admin, issuer):
    browser = Client(headers=passport(issuer, admin.pk, sid="s-1"))
    path = f"{LIST}{admin.pk}/change/"
    assert browser.get("/admin/password_change/").headers["Location"] == "/sessions/"
    assert Client().get("/admin/password_change/").status_code == 401
    sent = {"username": "root", "email": "root@example.com", "user_type": "admin", "is_active": "on"}
    sent |= {"password": "another horse 2", "version": version(browser, admin.pk)}
    assert browser.post(path, sent).status_code == 302
    after = User.objects.get()
    assert after.check_password("another horse 2")
    assert (after.session_epoch, after.kept_session) == (1, "s-1")
    text = page(browser.get(f"{LIST}{admin.pk}/history/"))
    assert re.search(r"<td>root</td>\s*<td>password changed</td>", text)
