"""The API as the gateway calls it: what it answers, and what is stored afterwards."""

from datetime import datetime

import pytest
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from orders.api import OrderOut
from orders.models import Order

pytestmark = pytest.mark.django_db
BOOK = {"item": "book", "address": "Main street 1"}
ID_IN_NO_ROW = 2**63 - 1


def order(owner: int = 7, **values) -> Order:
    return Order._base_manager.create(**{"created_by": owner, "item": "book", "address": "Main street 1"} | values)


def stored() -> list[dict]:
    return list(Order._base_manager.order_by("id").values())


def test_an_item_and_an_address_place_an_order(user):
    answer = user(7).post("/api/orders", BOOK)
    assert answer.status_code == 201, answer.content
    placed = Order._base_manager.get()
    assert answer["Location"] == f"/api/orders/{placed.pk}"
    assert answer.json() == {
        "id": placed.pk,
        "item": "book",
        "quantity": 1,
        "address": "Main street 1",
        "status": "placed",
        "created_by": 7,
        "created_at": placed.created_at.isoformat().replace("+00:00", "Z"),
        "updated_at": placed.updated_at.isoformat().replace("+00:00", "Z"),
    }
    assert (placed.item, placed.quantity, placed.address) == ("book", 1, "Main street 1")
    assert (placed.status, placed.created_by) == ("placed", 7)


@pytest.mark.parametrize(
    "body",
    [
        BOOK | {"quantity": 1_000_000},
        BOOK | {"item": "i" * 200, "address": "a" * 500},
        BOOK | {"item": "Bücher, 本 📚", "address": "Größe 1"},
        BOOK | {"item": "'; DROP TABLE orders_order; --"},
    ],
)
def test_an_order_is_stored_unchanged(user, body):
    answer = user().post("/api/orders", body)
    assert answer.status_code == 201, answer.content
    assert Order._base_manager.filter(**body).count() == 1
    assert {name: answer.json()[name] for name in body} == body


def test_a_list_has_the_users_own_orders_newest_first(user):
    mine = [order(7).pk, order(7).pk]
    order(8)
    answer = user(7).get("/api/orders")
    assert answer.status_code == 200
    assert [each["id"] for each in answer.json()["results"]] == mine[::-1]
    assert answer.json()["next"] is answer.json()["previous"] is None


def test_a_user_without_orders_gets_an_empty_page(user):
    order(8)
    assert user(7).get("/api/orders").json() == {"next": None, "previous": None, "results": []}


def test_a_user_reads_an_order_of_theirs(user):
    answer = user(7).get(f"/api/orders/{order(7).pk}")
    assert answer.status_code == 200
    assert (answer.json()["created_by"], answer.json()["item"]) == (7, "book")


def test_cancelling_twice_is_the_same_as_once(user):
    placed = order(7)
    before = timezone.now()
    first = user(7).post(f"/api/orders/{placed.pk}/cancel")
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert datetime.fromisoformat(first.json()["updated_at"]) >= before > placed.updated_at
    again = user(7).post(f"/api/orders/{placed.pk}/cancel")
    assert (again.status_code, again.json()) == (200, first.json())
    placed.refresh_from_db()
    assert placed.status == "cancelled"
    assert placed.updated_at == datetime.fromisoformat(first.json()["updated_at"])


def test_a_shipped_order_cannot_be_cancelled(user):
    shipped = order(7, status="shipped")
    before = stored()
    answer = user(7).post(f"/api/orders/{shipped.pk}/cancel")
    assert (answer.status_code, answer["Content-Type"]) == (409, "application/problem+json")
    assert "shipped" in answer.json()["detail"]
    assert stored() == before


def test_an_order_has_the_same_form_in_every_response(user):
    placed = user(7).post("/api/orders", BOOK)
    expected = JSONRenderer().render(OrderOut(Order._base_manager.get()).data)
    (listed,) = user(7).get("/api/orders").json()["results"]
    assert placed.content == user(7).get(placed["Location"]).content == expected
    assert listed == placed.json()
    cancelled = user(7).post(f"{placed['Location']}/cancel")
    assert cancelled.content == user(7).get(placed["Location"]).content
    assert cancelled.json().keys() == listed.keys()


def test_the_etag_of_an_order_changes_with_the_order(user):
    api = user(7)
    placed = api.post("/api/orders", BOOK)
    path = placed["Location"]
    assert api.get(path)["ETag"] == placed["ETag"]
    same = api.get(path, if_none_match=placed["ETag"])
    assert (same.status_code, same.content, same["ETag"]) == (304, b"", placed["ETag"])
    assert "Content-Type" not in same
    api.post(f"{path}/cancel")
    changed = api.get(path, if_none_match=placed["ETag"])
    assert (changed.status_code, changed.json()["status"]) == (200, "cancelled")
    assert changed["ETag"] != placed["ETag"]


def test_the_etag_of_a_list_changes_with_the_list(user):
    api = user(7)
    order(7)
    tag = api.get("/api/orders")["ETag"]
    order(8)
    for said in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        assert api.get("/api/orders", if_none_match=said).status_code == 304
    assert api.get("/api/orders", {"status": "shipped"}, if_none_match=tag).status_code == 200
    order(7)
    assert api.get("/api/orders", if_none_match=tag).status_code == 200


@pytest.mark.parametrize("said", ['"other"', "other", "", '"', "\x00", "W/", ","])
def test_if_none_match_without_the_etag_is_ignored(user, said):
    path = f"/api/orders/{order(7).pk}"
    assert user(7).get(path, if_none_match=said).json() == user(7).get(path).json()


@pytest.mark.parametrize("path", ["/api/orders", "/api/orders/{}"])
def test_if_match_without_the_etag_is_412(user, path):
    path = path.format(order(7).pk)
    tag = user(7).get(path)["ETag"]
    for said in (tag, f'"other", {tag}', "*"):
        assert user(7).get(path, if_match=said).status_code == 200
        assert user(7).get(path, if_match=said, if_none_match=tag).status_code == 304
    for said in ('"other"', f"W/{tag}"):
        answer = user(7).get(path, if_match=said, if_none_match=tag)
        assert (answer.status_code, answer["Content-Type"]) == (412, "application/problem+json")
        assert answer.json()["code"] == "precondition_failed"


def test_if_none_match_with_the_etag_prevents_a_cancellation(user):
    path = f"/api/orders/{order(7).pk}"
    tag, before = user(7).get(path)["ETag"], stored()
    for said in ("*", tag, f"W/{tag}", f'"other", {tag}'):
        assert user(7).post(f"{path}/cancel", HTTP_IF_NONE_MATCH=said).status_code == 412
        assert user(7).post(f"{path}/cancel", HTTP_IF_NONE_MATCH=said, HTTP_IF_MATCH=tag).status_code == 412
    assert stored() == before
    assert user(7).post(f"{path}/cancel", HTTP_IF_NONE_MATCH='"other"').status_code == 200


class TestCancellingWhatOneHasSeen:
    def cancel(self, api, placed, said):
        return api.post(f"/api/orders/{placed.pk}/cancel", HTTP_IF_MATCH=said)

    def test_an_order_that_has_changed_is_not_cancelled(self, user):
        placed = order(7)
        tag = user(7).get(f"/api/orders/{placed.pk}")["ETag"]
        Order._base_manager.update(quantity=2)
        before = stored()
        answer = self.cancel(user(7), placed, tag)
        assert (answer.status_code, answer["Content-Type"]) == (412, "application/problem+json")
        assert stored() == before

    def test_an_unchanged_order_is_cancelled_and_the_response_has_its_new_etag(self, user):
        placed = order(7)
        path = f"/api/orders/{placed.pk}"
        tag = user(7).get(path)["ETag"]
        answer = self.cancel(user(7), placed, tag)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert answer.json() == user(7).get(path).json()
        assert answer["ETag"] == user(7).get(path)["ETag"] != tag
        for again in (tag, answer["ETag"]):  # the first: of who did not get the answer
            assert self.cancel(user(7), placed, again).content == answer.content

    @pytest.mark.parametrize(("said", "status"), [("*", 200), ('"x"', 412), ("x", 400), ("", 400)])
    def test_only_the_etag_or_an_asterisk_cancels(self, user, said, status):
        placed = order(7)
        assert self.cancel(user(7), placed, said).status_code == status
        placed.refresh_from_db()
        assert placed.status == ("cancelled" if status == 200 else "placed")

    def test_a_shipped_order_is_409_with_any_etag(self, user):
        assert self.cancel(user(7), order(7, status="shipped"), '"x"').status_code == 409

    def test_another_users_order_is_404(self, user):
        assert self.cancel(user(7), order(8), "*").status_code == 404


def test_another_users_etag_gives_no_access(user):
    placed = user(8).post("/api/orders", BOOK)
    assert user(7).get(placed["Location"], if_none_match=placed["ETag"]).status_code == 404
    assert user(7).get(placed["Location"], if_none_match="*").status_code == 404


NOT_THERE = {"get": "/api/orders/{}", "post": "/api/orders/{}/cancel"}


@pytest.mark.parametrize("role", ["default", "admin"])
@pytest.mark.parametrize(("method", "path"), NOT_THERE.items())
def test_another_users_order_looks_like_a_missing_one(user, role, method, path):
    theirs = order(8)
    before = stored()
    answer = getattr(user(7, role), method)(path.format(theirs.pk))
    none = getattr(user(7, role), method)(path.format(theirs.pk + 1))
    assert answer.status_code == none.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == none.json()["detail"]
    assert stored() == before


def test_another_users_orders_are_in_no_page(user):
    order(8)
    assert user(7, role="admin").get("/api/orders").json()["results"] == []


IDS = ["abc", "-1", "0", "1.0", "1e3", "%00", "٣", "%ED%A0%80", ID_IN_NO_ROW, 2**63, 2**64, "9" * 5000, "1/", ""]


@pytest.mark.parametrize("order_id", IDS)
@pytest.mark.parametrize(("method", "path"), NOT_THERE.items())
def test_a_malformed_id_is_404(user, method, path, order_id):
    order(7)
    before = stored()
    answer = getattr(user(7), method)(path.format(order_id))
    assert answer.status_code == 404, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert stored() == before


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/orders", "GET, POST"),
        ("PUT", "/api/orders/{}", "GET"),
        ("DELETE", "/api/orders/{}", "GET"),
        ("GET", "/api/orders/{}/cancel", "POST"),
        ("BREW", "/api/orders", "GET, POST"),
    ],
)
def test_another_method_is_405_with_the_allowed_ones(user, method, path, allowed):
    placed = order(7)
    before = stored()
    api = user(7)
    answer = api.client.generic(method, path.format(placed.pk), headers=api.headers)
    assert answer.status_code == 405
    assert answer["Content-Type"] == "application/problem+json"
    assert set(allowed.split(", ")) <= set(answer["Allow"].split(", "))
    assert stored() == before


def test_the_links_of_a_page_have_the_clients_address(user):
    order(7), order(7)
    api = user(7)
    api.headers |= {"x-forwarded-host": "shop.example", "x-forwarded-proto": "https"}
    answer = api.get("/api/orders", {"limit": 1})
    assert answer.json()["next"].startswith("https://shop.example/api/orders?cursor=")


@pytest.mark.parametrize("spelling", ["0{}", "+{}", "{}.0", "%20{}", "{}%0A", "1_{}", "-{}", "0x{}"])
def test_an_id_has_one_spelling(user, spelling):
    order = user().post("/api/orders", BOOK).json()
    path = f"/api/orders/{spelling.format(order['id'])}"
    assert (user().get(path).status_code, user().post(f"{path}/cancel").status_code) == (404, 404)
    assert user().get(f"/api/orders/{order['id']}").json()["status"] == "placed"


@pytest.mark.parametrize("number", ["0", "٣", "%D9%A3", "9" * 18, str(2**63), str(2**64), "9" * 5000])
def test_an_id_without_an_order_is_404(user, number):
    reply = user().get(f"/api/orders/{number}")
    assert (reply.status_code, reply["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/problem+json", 200),
        ("Application/Problem+JSON;q=0.5", 200),
        ("application/json, application/problem+json", 200),
        ("*/*", 200),
        ("text/html", 406),
        ("application/problem+xml", 406),
    ],
)
def test_a_client_that_accepts_problems_accepts_json(user, accept, status):
    answer = user(7).get(f"/api/orders/{order(7).pk}", accept=accept)
    assert answer.status_code == status
    assert answer["Content-Type"] == ("application/json" if status == 200 else "application/problem+json")
    missing = user(7).get("/api/orders/999", accept=accept)
    assert (missing.status_code, missing["Content-Type"]) == (404 if status == 200 else 406, "application/problem+json")
