import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from users import services
from users.models import Deletion, User
from users.problems import Conflict

from .conftest import PASSWORD

LIST = "/admin/users/user/"
FORM = {"username": "ada", "email": "ada@example.com", "full_name": "Ada", "user_type": "default", "is_active": "on"}


@pytest.fixture
def browser(admin) -> Client:
    client = Client()
    answer = client.post("/admin/login/?next=/admin/", {"username": "ROOT", "password": PASSWORD})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
    return client


def page(response) -> str:
    assert response.status_code == 200, response.content
    text = response.content.decode()
    assert "argon2" not in text
    return text


def said(browser: Client) -> str:
    return page(browser.get(LIST))


@pytest.mark.parametrize(
    ("username", "password"), [("root", "wrong"), ("eva", PASSWORD), ("former", PASSWORD), ("nobody", PASSWORD)]
)
def test_only_an_active_admin_signs_in(admin, make, username, password):
    make("eva")
    make("former", user_type="admin", is_active=False)
    client = Client()
    assert "Please enter the correct username" in page(
        client.post("/admin/login/", {"username": username, "password": password})
    )
    assert client.get(LIST).status_code == 302


def test_an_admin_who_is_demoted_is_out_at_once(browser, admin, make):
    make("other", user_type="admin")
    services.user_update(user_id=admin.pk, actor=0, user_type="default")
    assert browser.get(LIST).status_code == 302


def test_the_pages_show_users_and_never_a_hash(browser, admin, make):
    make("eva")
    assert "eva@example.com" in page(browser.get(LIST))
    assert "eva@example.com" in page(browser.get(f"{LIST}?q=EVA"))
    text = page(browser.get(f"{LIST}{admin.pk}/change/"))
    assert "root@example.com" in text
    assert 'type="password"' in text
    page(browser.get(f"{LIST}add/"))
    page(browser.get("/admin/"))


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
    assert browser.post(path, FORM | {"password": ""}).status_code == 302
    after = User.objects.get(pk=user.pk)
    assert (after.username, after.password, after.session_epoch) == ("ada", user.password, 0)
    assert browser.post(path, FORM | {"password": "another horse 2"}).status_code == 302
    after = User.objects.get(pk=user.pk)
    assert after.check_password("another horse 2")
    assert after.session_epoch == 1


@pytest.mark.parametrize("change", [{"user_type": "default"}, {"is_active": ""}])
def test_nobody_demotes_oneself_here(browser, admin, everything, change):
    form = {"username": "root", "email": "root@example.com", "user_type": "admin", "is_active": "on"} | change
    before = everything()
    assert services.OWN in page(browser.post(f"{LIST}{admin.pk}/change/", form))
    assert everything() == before


def test_another_admin_can_be_demoted_here(browser, make):
    other = make("other", user_type="admin")
    form = {"username": "other", "email": "other@example.com", "user_type": "default", "is_active": "on"}
    assert browser.post(f"{LIST}{other.pk}/change/", form).status_code == 302
    assert User.objects.get(pk=other.pk).user_type == "default"


def test_a_rule_that_is_broken_between_the_form_and_the_save_is_a_message(browser, make, everything, monkeypatch):
    user = make("eva")
    before = everything()

    def conflict(**kwargs: object) -> None:
        raise Conflict("Taken a moment ago.")

    monkeypatch.setattr(services, "user_update", conflict)
    answer = browser.post(f"{LIST}{user.pk}/change/", FORM)
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


def test_a_form_of_another_site_is_refused(admin):
    client = Client(enforce_csrf_checks=True)
    assert client.post("/admin/login/", {"username": "root", "password": PASSWORD}).status_code == 403


def test_the_static_files_are_served_below_the_admin():
    response = Client().get("/admin/static/admin/css/base.css")
    assert (response.status_code, response.headers["Content-Type"]) == (200, 'text/css; charset="utf-8"')
    response.close()
