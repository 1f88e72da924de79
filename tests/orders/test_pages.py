"""Cursor pages."""

import base64
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from orders.models import Order

pytestmark = pytest.mark.django_db


@pytest.fixture
def seven():
    return [Order.objects.create(created_by=1, item=str(number), address="x") for number in range(7)]


def follow(api, path, link="next"):
    """Return the items of each page from the path on."""
    pages = []
    while path:
        page = api.get(path).json()
        pages.append([order["item"] for order in page["results"]])
        path = page[link] and page[link].removeprefix("http://testserver")
    return pages


def test_all_pages_hold_everything_once_newest_first(user, seven):
    assert follow(user(), "/api/orders?limit=3") == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


def test_pages_lead_back(user, seven):
    first = user().get("/api/orders?limit=3").json()
    second = user().get(first["next"]).json()
    assert user().get(second["previous"]).json()["results"] == first["results"]


def test_what_is_added_meanwhile_shifts_nothing(user, seven):
    first = user().get("/api/orders?limit=3").json()
    Order.objects.create(created_by=1, item="new", address="x")
    assert [order["item"] for order in user().get(first["next"]).json()["results"]] == ["3", "2", "1"]


def encoded(text):
    return quote(base64.b64encode(text.encode()).decode())


@pytest.mark.parametrize(
    "cursor",
    ["", "%00", "x", "%C3%A9", "====", "cD0x!"]
    + [encoded(text) for text in ("p=abc", "p=-1", "p=1.5", "p=" + "9" * 20, "p=%D9%A1", "o=-1", "o=x", "r=x")],
)
def test_a_cursor_that_no_page_has_named_is_400(user, seven, cursor):
    reply = user().get(f"/api/orders?cursor={cursor}")
    assert reply.status_code == 400, reply.content
    assert set(reply.json()["errors"]) == {"cursor"}


def test_a_page_s_own_cursor_is_accepted_and_an_end_is_empty(user, seven):
    link = user().get("/api/orders?limit=3").json()["next"]
    assert set(parse_qs(urlsplit(link).query)) == {"cursor", "limit"}
    assert user().get(f"/api/orders?cursor={encoded('p=1')}").json()["results"] == []


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "", "1.5", "1e2", "9" * 30, "%D9%A1", "%00"])
def test_a_limit_out_of_bounds_is_400(user, limit):
    reply = user().get(f"/api/orders?limit={limit}")
    assert reply.status_code == 400, reply.content
    assert reply.json()["errors"] == {"limit": ["Expected a whole number from 1 to 200."]}


@pytest.mark.parametrize(("query", "count"), [("?limit=1", 1), ("?limit=200", 60), ("", 50)])
def test_a_limit_within_bounds_is_kept(user, query, count):
    for number in range(60):
        Order.objects.create(created_by=1, item=str(number), address="x")
    assert len(user().get(f"/api/orders{query}").json()["results"]) == count
