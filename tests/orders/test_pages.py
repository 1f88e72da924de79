"""Cursor pages."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orders.models import Order

pytestmark = pytest.mark.django_db


@pytest.fixture
def seven():
    return [Order._base_manager.create(created_by=1, item=str(number), address="x") for number in range(7)]


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
    Order._base_manager.create(created_by=1, item="new", address="x")
    assert [order["item"] for order in user().get(first["next"]).json()["results"]] == ["3", "2", "1"]


def encoded(text):
    return quote(base64.b64encode(text.encode()).decode())


@pytest.mark.parametrize(
    "cursor",
    ["", "%00", "x", "%C3%A9", "====", "cD0x!"]
    + [encoded(text) for text in ("p=abc", "p=-1", "p=1.5", "p=" + "9" * 20, "p=%D9%A1", "o=-1", "o=x", "r=x")]
    + [
        encoded(urlencode({"p": text}))
        for text in (
            "2026-01-31",
            "2026-01-31 12:00:00",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31 12:00:00.5+00:00",
            "2026-02-30 12:00:00+00:00",
            "0001-01-01 00:00:00+23:59",
            "9999-12-31 23:59:59-23:59",
        )
    ],
)
def test_a_cursor_that_no_page_has_named_is_400(user, seven, cursor):
    reply = user().get(f"/api/orders?cursor={cursor}")
    assert reply.status_code == 400, reply.content
    assert set(reply.json()["errors"]) == {"cursor"}


def test_a_page_s_own_cursor_is_accepted_and_an_end_is_empty(user, seven):
    link = user().get("/api/orders?limit=3").json()["next"]
    assert set(parse_qs(urlsplit(link).query)) == {"cursor", "limit"}
    cursor = encoded(urlencode({"p": "2000-01-01 00:00:00+00:00"}))
    assert user().get(f"/api/orders?cursor={cursor}").json()["results"] == []


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "", "1.5", "1e2", "9" * 30, "%D9%A1", "%00"])
def test_a_limit_out_of_bounds_is_400(user, limit):
    reply = user().get(f"/api/orders?limit={limit}")
    assert reply.status_code == 400, reply.content
    assert reply.json()["errors"] == {"limit": ["Expected a whole number from 1 to 200."]}


@pytest.mark.parametrize(("query", "count"), [("?limit=1", 1), ("?limit=200", 60), ("", 50)])
def test_a_limit_within_bounds_is_kept(user, query, count):
    for number in range(60):
        Order._base_manager.create(created_by=1, item=str(number), address="x")
    assert len(user().get(f"/api/orders{query}").json()["results"]) == count


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def made(number: int, moment: datetime, **values) -> Order:
    order = Order._base_manager.create(**{"created_by": 1, "item": str(number), "address": "x"} | values)
    Order._base_manager.filter(id=order.pk).update(created_at=moment)
    return order


def test_orders_of_one_moment_are_in_one_page_each_the_later_id_first(user):
    for number in range(7):
        made(number, NOON)
    assert follow(user(), "/api/orders?limit=3") == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


@pytest.fixture
def hours():
    """An order at each hour from noon on; the odd ones cancelled, and another user's among them."""
    for number in range(6):
        made(number, NOON + timedelta(hours=number), status="cancelled" if number % 2 else "placed")
        made(100 + number, NOON + timedelta(hours=number), created_by=2)


FILTERS = [
    ({"status": "placed"}, ["4", "2", "0"]),
    ({"status": "cancelled"}, ["5", "3", "1"]),
    ({"status": "shipped"}, []),
    ({"created_after": "2026-01-31T14:00:00Z"}, ["5", "4", "3"]),
    ({"created_before": "2026-01-31T14:00:00Z"}, ["1", "0"]),
    ({"created_after": "2026-01-31T14:00:00+02:00"}, ["5", "4", "3", "2", "1"]),
    ({"created_after": "2026-01-31T13:59:59.999999Z", "created_before": "2026-01-31T16:00:00Z"}, ["3", "2"]),
    ({"created_before": "2026-01-31T15:30:00Z", "status": "cancelled"}, ["3", "1"]),
    ({"created_after": "2026-01-31T16:00:00Z", "created_before": "2026-01-31T13:00:00Z"}, []),
    ({"created_after": "2026-01-31"}, list("543210")),  # midnight, UTC
    ({"created_after": "0001-01-01T00:00:00Z", "created_before": "9999-12-31T23:59:59Z"}, list("543210")),
]


@pytest.mark.parametrize(("query", "items"), FILTERS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("limit", [1, 2, 200])
def test_filters_narrow_the_list_over_all_its_pages(user, hours, query, items, limit):
    pages = follow(user(), f"/api/orders?{urlencode({**query, 'limit': limit})}")
    assert [item for page in pages for item in page] == items
    assert all(len(page) <= limit for page in pages)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=", "status"),
        ("status=PLACED", "status"),
        ("status=%00", "status"),
        ("status=%ED%A0%80", "status"),
        ("status=placed&status=lost", "status"),
        ("created_after=", "created_after"),
        ("created_after=yesterday", "created_after"),
        ("created_after=2026-02-30T00:00:00Z", "created_after"),
        ("created_before=2026-01-31T00:00:00+00:00", "created_before"),  # a plus that is no %2B is a space
        ("created_before=0001-01-01T00:00:00%2B23:59", "created_before"),
        ("created_before=9999-12-31T23:59:59-23:59", "created_before"),
        ("created_before=1e9", "created_before"),
    ],
)
def test_a_filter_that_is_none_is_400(user, hours, query, field):
    reply = user().get(f"/api/orders?{query}")
    assert reply.status_code == 400, reply.content
    assert set(reply.json()["errors"]) == {field}


def test_a_page_keeps_its_filters_in_its_links(user, hours):
    link = user().get("/api/orders?limit=1&status=placed").json()["next"]
    assert set(parse_qs(urlsplit(link).query)) == {"cursor", "limit", "status"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="asks SQLite how it would go about it")
@pytest.mark.parametrize(("query", "items"), FILTERS[::3], ids=lambda value: str(value)[:60])
def test_a_page_is_one_walk_along_an_index(user, hours, query, items):
    link = user().get("/api/orders", {"limit": 1}).json()["next"].removeprefix("http://testserver")
    for path in (f"/api/orders?limit=1&{urlencode(query)}", f"{link}&{urlencode(query)}", link):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert user().get(path).status_code == 200
        (select,) = [each["sql"] for each in asked if "orders_order" in each["sql"]]
        with connection.cursor() as cursor:
            steps = [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {select}")]
        assert len(steps) == 1, steps
        assert steps[0].startswith("SEARCH orders_order USING INDEX orders_of_user")
