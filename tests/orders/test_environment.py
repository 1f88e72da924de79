"""The variables of the orders project. What they have in common with other projects is tested with the chassis."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from orders_project import environment


def test_the_defaults_are_good(monkeypatch):
    for name in environment.Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    env = environment.read()
    assert (env.orders_bind, env.orders_port, env.orders_workers) == ("127.0.0.1", 8003, 2)
    assert env.jwks_url == "http://127.0.0.1:8001/.well-known/jwks.json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORDERS_BIND", "127.0.0.1:80"),
        ("ORDERS_PORT", "70000"),
        ("ORDERS_WORKERS", "0"),
        ("ORDERS_SECRET_KEY", "short"),
        ("ORDERS_DATABASE_URL", "mysql://u:p@h/orders"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        environment.read()
