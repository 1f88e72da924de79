"""Cursor pages."""

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.db import connection

from chassis.serializers import MAX_NAMED
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


def test_the_pages_have_every_order_once_newest_first(user, seven):
    assert follow(user(), "/api/orders?limit=3") == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


def test_links_and_problems_have_the_public_path(user, seven):
    asked = {"x-forwarded-path": "/api/v1/%C3%B6rders", "x-forwarded-host": "api.example", "x-forwarded-proto": "https"}
    page = user().get("/api/orders?limit=3", **asked).json()
    assert page["next"].startswith("https://api.example/api/v1/%C3%B6rders?cursor=")
    assert user().get("/api/orders?limit=0", **asked).json()["instance"] == "/api/v1/%C3%B6rders"
    # It decides nothing.
    other = {"x-forwarded-path": "/api/orders"}
    assert user().get("/api/nothing", **other).status_code == 404


def test_pages_lead_back(user, seven):
    first = user().get("/api/orders?limit=3").json()
    second = user().get(first["next"]).json()
    assert user().get(second["previous"]).json()["results"] == first["results"]


def test_a_new_order_shifts_no_page(user, seven):
    first = user().get("/api/orders?limit=3").json()
    Order._base_manager.create(created_by=1, item="new", address="x")
    assert [order["item"] for order in user().get(first["next"]).json()["results"]] == ["3", "2", "1"]


@pytest.mark.parametrize("cursor", ["", "x", "%00", "%C3%A9", "====", "cD0x", "WyJsdCIsW11d:x"])
def test_a_cursor_that_no_page_contains_is_400(user, seven, cursor):
    reply = user().get(f"/api/orders?cursor={cursor}")
    assert reply.status_code == 400, reply.content
    assert set(reply.json()["errors"]) == {"cursor"}


def test_a_page_s_own_cursor_is_accepted(user, seven):
    link = user().get("/api/orders?limit=3").json()["next"]
    assert set(parse_qs(urlsplit(link).query)) == {"cursor", "limit"}
    assert len(user().get(link).json()["results"]) == 3


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "", "1.5", "1e2", "9" * 30, "%D9%A1", "%00"])
def test_a_limit_out_of_bounds_is_400(user, limit):
    reply = user().get(f"/api/orders?limit={limit}")
    assert reply.status_code == 400, reply.content
    assert reply.json()["errors"] == {"limit": ["Expected a whole number from 1 to 200."]}


@pytest.mark.parametrize(("query", "count"), [("?limit=1", 1), ("?limit=200", 60), ("", 50)])
def test_a_limit_within_bounds_is_used(user, query, count):
    for number in range(60):
        Order._base_manager.create(created_by=1, item=str(number), address="x")
    assert len(user().get(f"/api/orders{query}").json()["results"]) == count


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def made(number: int, moment: datetime, **values) -> Order:
    order = Order._base_manager.create(**{"created_by": 1, "item": str(number), "address": "x"} | values)
    Order._base_manager.filter(id=order.pk).update(created_at=moment)
    return order


@pytest.mark.parametrize("limit", range(1, 9))
@pytest.mark.parametrize("moments", ["0000000", "0011222", "0111110", "0123456", "6543210"])
def test_orders_of_one_moment_are_on_one_page_each_in_both_directions(user, limit, moments):
    placed = [made(number, NOON + timedelta(minutes=int(minute))) for number, minute in enumerate(moments)]
    order = sorted(range(7), key=lambda number: (moments[number], placed[number].pk), reverse=True)
    expected = [[str(number) for number in order[at : at + limit]] for at in range(0, 7, limit)]
    assert follow(user(), f"/api/orders?limit={limit}") == expected
    path = f"/api/orders?limit={limit}"
    while link := user().get(path).json()["next"]:
        path = link
    back = [item for page in reversed(follow(user(), path, "previous")) for item in page]
    assert back == [str(number) for number in order]


def test_a_page_back_of_two_of_three_orders_of_one_moment_is_the_first_page(user):
    for number in range(3):
        made(number, NOON)
    first = user().get("/api/orders?limit=2").json()
    assert user().get(user().get(first["next"]).json()["previous"]).json() == first


def test_a_new_order_of_the_same_moment_shifts_no_page(user):
    for number in range(7):
        made(number, NOON)
    first = user().get("/api/orders?limit=3").json()
    made(7, NOON)
    second = user().get(first["next"]).json()
    assert [order["item"] for order in second["results"]] == ["3", "2", "1"]
    assert follow(user(), second["previous"], "previous") == [["6", "5", "4"], ["7"]]


def test_a_list_of_1500_orders_of_one_moment_ends(user):
    Order._base_manager.bulk_create(Order(created_by=1, item=str(number), address="x") for number in range(1500))
    Order._base_manager.update(created_at=NOON)
    items = [item for page in follow(user(), "/api/orders?limit=200") for item in page]
    assert items == [str(number) for number in reversed(range(1500))]


def test_an_empty_page_leads_back_to_a_full_one(user, hours):
    """Every order of the second page is cancelled before it is read."""
    first = user().get("/api/orders?limit=1&status=placed").json()
    Order._base_manager.exclude(item="4").update(status="cancelled")
    empty = user().get(first["next"]).json()
    assert (empty["results"], empty["next"]) == ([], None)
    assert user().get(empty["previous"]).json()["results"] == first["results"]


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
    ({"created_before": "2026-01-31 14:00:00-00:00"}, ["1", "0"]),
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
        ("status=placed&status=placed", "status"),
        ("created_after=", "created_after"),
        ("created_after=yesterday", "created_after"),
        ("created_after=2026-02-30T00:00:00Z", "created_after"),
        ("created_before=2026-01-31T00:00:00+00:00", "created_before"),  # an unencoded plus is a space
        ("created_before=0001-01-01T00:00:00%2B23:59", "created_before"),
        ("created_before=9999-12-31T23:59:59-23:59", "created_before"),
        ("created_before=1e9", "created_before"),
    ],
)
def test_a_malformed_filter_is_400(user, hours, query, field):
    reply = user().get(f"/api/orders?{query}")
    assert reply.status_code == 400, reply.content
    assert set(reply.json()["errors"]) == {field}


def test_a_page_keeps_its_filters_in_its_links(user, hours):
    link = user().get("/api/orders?limit=1&status=placed").json()["next"]
    assert set(parse_qs(urlsplit(link).query)) == {"cursor", "limit", "status"}


def test_a_page_of_many_orders_costs_what_a_page_of_few_costs(user):
    """In processor time, which depends little on what else the machine does."""
    few, many = 30, 30_000
    for owner, count in ((1, few), (2, many)):
        Order._base_manager.bulk_create(Order(created_by=owner, item="book", address="x") for _ in range(count))
    with connection.cursor() as cursor:
        date = "datetime('2026-01-01', id || ' seconds')" if connection.vendor == "sqlite" else (
            "timestamptz '2026-01-01 UTC' + id * interval '1 second'")  # fmt: skip
        cursor.execute(f"UPDATE orders_order SET created_at = {date}")
        cursor.execute("ANALYZE")

    def cost(owner: int, query: dict[str, str]) -> float:
        api, path = user(owner), f"/api/orders?{urlencode({**query, 'limit': 10})}"
        times = []
        for _ in range(3):
            following = api.get(path).json()["next"]
            for _ in range(5):
                before = time.thread_time()
                assert api.get(following).status_code == 200
                times.append(time.thread_time() - before)
        return min(times)

    for query in ({}, {"status": "placed"}, {"created_before": "2026-01-20"}):
        assert cost(2, query) < 3 * cost(1, query), query


KNOWN = "cursor, limit, status, created_after, created_before"


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("page=2", {"page": f"Unknown parameter. Expected one of: {KNOWN}."}),
        ("limit=1&foo=bar&foo=bar", {"foo": f"Unknown parameter. Expected one of: {KNOWN}."}),
        ("Limit=1", {"Limit": f"Unknown parameter. Expected one of: {KNOWN}."}),
        ("limit=1&limit=1", {"limit": "Expected this parameter once, got it 2 times."}),
        (
            "cursor=x&cursor=y&cursor=z&a%00b=1",
            {
                "cursor": "Expected this parameter once, got it 3 times.",
                "a\ufffdb": f"Unknown parameter. Expected one of: {KNOWN}.",
            },
        ),
        ("=1", {"non_field_errors": f"Unknown parameter. Expected one of: {KNOWN}."}),
    ],
)
def test_an_unknown_or_repeated_parameter_is_400(user, seven, query, errors):
    reply = user().get(f"/api/orders?{query}")
    assert (reply.status_code, reply["Content-Type"]) == (400, "application/problem+json")
    assert reply.json()["errors"] == {name: [message] for name, message in errors.items()}


def test_the_response_to_many_unknown_parameters_is_short(user):
    reply = user().get(f"/api/orders?{'&'.join(f'p{number}' for number in range(900))}")
    assert (reply.status_code, len(reply.json()["errors"])) == (400, MAX_NAMED)
    assert user().get(f"/api/orders?{'&'.join(f'p{number}' for number in range(2000))}").status_code == 400
