"""Cursor pages, strict queries and conditional requests."""

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from chassis.pagination import CursorPages
from shop.models import Book

pytestmark = pytest.mark.django_db


@pytest.fixture
def seven():
    for number in range(7):
        Book.objects.create(title=f"book {number}")


def titles(reply):
    return [book["title"] for book in reply.json()["results"]]


def test_pages_hold_everything_once_newest_first_and_lead_back(user, seven):
    api, url, found, back = user(1), "/books/?limit=3", [], None
    while url:
        reply = api.get(url)
        found += titles(reply)
        back, url = reply.json()["previous"], reply.json()["next"]
    assert found == [f"book {number}" for number in reversed(range(7))]
    assert titles(api.get(back)) == ["book 3", "book 2", "book 1"]


def test_a_new_entry_shifts_nothing(user, seven):
    following = user(1).get("/books/?limit=3").json()["next"]
    Book.objects.create(title="new")
    assert titles(user(1).get(following)) == ["book 3", "book 2", "book 1"]


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "", "1.0", "٣", "0001"])
def test_a_limit_out_of_bounds_is_400(user, limit):
    reply = user(1).get("/books/", {"limit": limit})
    assert reply.json()["errors"] == {"limit": ["Expected a whole number from 1 to 200."]}


@pytest.mark.parametrize("cursor", ["", "x", "!", "cD0x", "WyJsdCIsWyIxIl1d:x"])
def test_a_cursor_that_no_page_names_is_400(user, seven, cursor):
    assert set(user(1).get("/books/", {"cursor": cursor}).json()["errors"]) == {"cursor"}


class ByTitle(CursorPages):
    newest_by = ("title", "pk")


def turn(path: str) -> tuple[list[str], str | None, str | None]:
    """Return the titles, with ids, of the page at that path, and its links."""
    pages = ByTitle()
    books = pages.paginate_queryset(Book.objects.all(), Request(RequestFactory().get(path)))
    return [f"{book.title}{book.pk}" for book in books], pages.get_next_link(), pages.get_previous_link()


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 8])
def test_entries_that_are_equally_new_are_on_one_page_each_there_and_back(limit):
    expected = [f"{title}{Book.objects.create(title=title).pk}" for title in "aabbbbc"][::-1]
    there, back, link = [], [], f"/?limit={limit}"
    while link:
        path = link
        entries, link, _ = turn(path)
        there += entries
    link = path
    while link:
        entries, _, link = turn(link)
        back = entries + back
    assert there == back == expected


def test_an_empty_page_leads_back_to_the_entry_before_it(seven):
    _, following, _ = turn("/?limit=4")
    Book.objects.filter(title__lt="book 3").delete()
    entries, following, previous = turn(following)
    assert (entries, following) == ([], None)
    assert [entry[:6] for entry in turn(previous)[0]] == ["book 6", "book 5", "book 4", "book 3"]
    _, _, newer = turn(previous)
    assert newer is None


def test_an_empty_page_of_newer_entries_leads_to_the_entry_after_it(seven):
    _, following, _ = turn("/?limit=4")
    _, _, previous = turn(following)
    Book.objects.filter(title__gt="book 2").delete()
    entries, following, previous = turn(previous)
    assert (entries, previous) == ([], None)
    assert [entry[:6] for entry in turn(following)[0]] == ["book 2", "book 1", "book 0"]


def test_a_link_has_the_public_address_behind_a_gateway(user, seven):
    forwarded = {"x-forwarded-host": "api.example.org", "x-forwarded-proto": "https"}
    reply = user(1).get("/books/", {"limit": "3"}, **forwarded)
    assert reply.json()["next"].startswith("https://api.example.org/books/?cursor=")


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("colour=red", {"colour": "Unknown parameter. Expected one of: cursor, limit, item."}),
        ("item=a&item=b", {"item": "Expected this parameter once, got it 2 times."}),
        ("a%00b=1", {"a�b": "Unknown parameter. Expected one of: cursor, limit, item."}),
    ],
)
def test_an_unknown_or_repeated_parameter_is_400(user, query, errors):
    reply = user(1).get(f"/sales?{query}")
    assert reply.json()["errors"] == {name: [message] for name, message in errors.items()}


def test_known_parameters_and_none_are_fine(user):
    assert user(1).get("/sales?item=a&limit=5").status_code == user(1).get("/sales").status_code == 200


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"if-none-match": '"1"'}, 304),
        ("GET", {"if-none-match": 'W/"1"'}, 304),
        ("GET", {"if-none-match": "*"}, 304),
        ("GET", {"if-none-match": '"2", "3"'}, 200),
        ("PUT", {}, 200),
        ("PUT", {"if-match": '"1"'}, 200),
        ("PUT", {"if-match": '"2", "1"'}, 200),
        ("PUT", {"if-match": "*"}, 200),
        ("PUT", {"if-match": 'W/"1"'}, 412),
        ("PUT", {"if-match": '"2"'}, 412),
        ("PUT", {"if-match": "1"}, 400),
        ("PUT", {"if-none-match": '"1"'}, 412),
        ("PUT", {"if-none-match": "*"}, 412),
        ("PUT", {"if-none-match": '"2"'}, 200),
    ],
)
def test_a_conditional_request(user, method, headers, status):
    api = user(1)
    reply = api.client.generic(method, "/version", headers=api.headers | headers)
    assert reply.status_code == status
    if status == 412:
        assert reply.json()["code"] == "precondition_failed"
