"""The list of users in the admin, and its actions."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from users import services
from users.admin import users as admin_users
from users.models import User

from .admin_pages import LIST, page, said
from .conftest import remove


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["kim", "ada", "eva", "root"]),
        ("?o=6", ["root", "eva", "ada", "kim"]),
        ("?q=EV", ["eva"]),
        ("?q=example.com+ada", ["ada"]),
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
    if answer.status_code == 302:  # an impossible query: Django shows its list from the beginning
        assert "e=1" in answer.headers["Location"]
        return
    assert re.findall(r'change/[^"]*">([a-z]+)</a>', page(answer)) == found


@pytest.mark.parametrize(
    "asked",
    ["password__startswith=argon2", "password__regex=^a"],
)
def test_lookups_of_what_no_page_shows_are_rejected(browser, asked):
    assert browser.get(f"{LIST}?{asked}").status_code == 400


@pytest.mark.parametrize("query", ["created_at__gte=x", "id__lt=x", "password__startswith=a", "o=99"])
def test_an_invalid_query_is_no_server_error(browser, query):
    assert browser.get(f"{LIST}?{query}").status_code in {200, 302, 400}


@pytest.mark.record
@pytest.mark.parametrize("query", ["", "?o=6", "?o=-6"])
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


def act(browser: Client, action: str, *ids: int, across: bool = False) -> str:
    sent = {"action": action, "_selected_action": ids, "select_across": int(across), "index": 0}
    answer = browser.post(LIST, sent)
    assert (answer.status_code, answer.headers["Location"]) == (302, LIST), answer.content
    return said(browser)


def test_many_are_deactivated_and_activated_and_exceptions_are_named(browser, admin, make):
    eva, ada, kim = (make(name).pk for name in ("eva", "ada", "kim"))
    text = act(browser, "deactivate", eva, ada, admin.pk)
    assert "2 of 3 users deactivated." in text
    assert f"Not changed: root. {services._OWN}" in text
    assert set(User.objects.filter(is_active=True).values_list("pk", flat=True)) == {admin.pk, kim}
    assert User.objects.get(pk=eva).session_epoch == 1
    assert "1 of 2 users activated." in act(browser, "activate", eva, kim)
    assert "0 of 2 users activated." in act(browser, "activate", eva, kim)
    history = page(browser.get(f"{LIST}{eva}/history/"))
    assert re.findall(r"<td>root</td>\s*<td>(is_active: [^<]*)</td>", history) == [
        "is_active: False → True",
        "is_active: True → False",
    ]
    assert User.objects.get(pk=eva).is_active
    assert not User.objects.get(pk=ada).is_active


def test_a_user_deleted_before_an_action_is_named(browser, make, monkeypatch):
    eva, ada = make("eva"), make("ada")
    set_active = services.users_set_active

    def and_before(**values):
        remove(eva)
        return set_active(**values)

    monkeypatch.setattr(services, "users_set_active", and_before)
    text = act(browser, "deactivate", eva.pk, ada.pk)
    assert "Not changed: eva. This user was deleted." in text
    assert "1 of 2 users deactivated." in text


def test_the_last_admin_of_those_chosen_stays_one(browser, admin, make, issuer):
    """Each is judged with those before deactivated already."""
    others = [make(name, user_type="admin").pk for name in ("a", "b", "c")]
    changed, refused = services.users_set_active(user_ids=[admin.pk, *others], actor=0, is_active=False)
    assert (changed, refused) == (3, {others[-1]: services._LAST_ADMIN})
    assert list(User.objects.active_admins().values_list("pk", flat=True)) == others[-1:]


def test_an_action_on_too_many_users_changes_none(browser, make, everything, monkeypatch):
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
