"""Everyone their own: at every path that there is, and by construction."""

import ast
from pathlib import Path

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver

import orders
from orders.models import Order

pytestmark = pytest.mark.django_db
# What anyone inside the network may ask: nothing of it is anyone's.
PUBLIC = {"openapi.json", "healthz"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
THEIRS = 8


def paths() -> list[str]:
    """Every path of the service, with the id of an order where it takes a parameter, which then is one."""
    found = []
    for pattern in get_resolver().url_patterns:
        assert isinstance(pattern, URLPattern)
        assert set(pattern.pattern.converters) <= {"order_id"}, f"{pattern}: say here what it stands for"
        found.append(str(pattern.pattern).replace("<id:order_id>", "{}"))
    return [path for path in found if path not in PUBLIC]


def test_there_are_paths():
    assert "api/orders/{}/cancel" in paths()


@pytest.mark.parametrize("role", ["default", "admin"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", paths())
def test_no_path_shows_or_changes_another_users_order(user, path, method, role):
    theirs = Order._base_manager.create(created_by=THEIRS, item="a secret", address="a secret place")
    before = list(Order._base_manager.filter(created_by=THEIRS).values())
    api = user(7, role)
    body = b'{"item": "book", "address": "Main street 1"}'
    answer = api.client.generic(
        method, "/" + path.format(theirs.pk), body, content_type="application/json", headers=api.headers
    )
    allowed = {200, 201} if path == "api/orders" else {404}
    assert answer.status_code in allowed | {405}, answer.content
    assert b"secret" not in answer.content
    assert list(Order._base_manager.filter(created_by=THEIRS).values()) == before
    assert not Order._base_manager.exclude(created_by__in=[7, THEIRS]).exists()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", paths())
def test_no_path_responds_without_a_passport_or_to_the_gateway_itself(issuer, path, method):
    url = "/" + path.format(1)
    assert Client().generic(method, url).status_code == 401
    passport = issuer.passport("gateway", audience="orders", role="service")
    headers = {"authorization": f"Bearer {passport}", "request-user-id": "gateway"}
    assert Client().generic(method, url, headers=headers).status_code in {403, 405}


@pytest.mark.parametrize(
    "ask",
    [
        Order.objects.all,
        lambda: Order.objects.get(id=1),
        lambda: Order.objects.filter(created_by=7),
        Order.objects.count,
        lambda: Order.objects.create(created_by=7, item="book", address="x"),
        lambda: list(Order.objects.raw("SELECT * FROM orders_order")),
    ],
)
def test_a_query_without_an_owner_is_rejected(ask):
    with pytest.raises(TypeError, match="needs an owner"):
        ask()


def test_the_source_queries_orders_in_no_other_way():
    for path in Path(orders.__file__).parent.glob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"_base_manager", "_default_manager", "raw", "extra"}, path.name
