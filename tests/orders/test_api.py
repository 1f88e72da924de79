import pytest

pytestmark = pytest.mark.django_db


def test_an_order_needs_an_item_and_an_address(user):
    answer = user(7).post("/api/orders", {"item": "book", "address": "Main street 1"})
    assert answer.status_code == 201, answer.content
