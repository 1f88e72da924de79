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
        ("ORDERS_PORT", "x"),
        ("ORDERS_PORT", "70000"),
        ("ORDERS_WORKERS", "0"),
        ("ORDERS_SECRET_KEY", "short"),
        ("JWKS_URL", "ftp://x"),
        ("GATEHOUSE_ENV", "test"),
        ("LOG_LEVEL", "loud"),
        ("DATABASE_URL", "mysql://u:hunter2@h/orders"),
        ("DATABASE_URL", "postgres://u:hunter2@h:port/orders"),
        ("ORDERS_DATABASE_URL", "postgres://u:hunter2@h/"),
        ("ORDERS_DATABASE_URL", "hunter2"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name) as refused:
        environment.read()
    assert "hunter2" not in str(refused.value)


def test_every_setting_is_described():
    assert all(field.description for field in environment.Environment.model_fields.values())


def test_production_wants_a_secret_of_its_own(monkeypatch):
    monkeypatch.setenv("GATEHOUSE_ENV", "production")
    with pytest.raises(ImproperlyConfigured, match="ORDERS_SECRET_KEY"):
        environment.read()
    monkeypatch.setenv("ORDERS_SECRET_KEY", "a-secret-of-one's-own-that-nobody-else-knows")
    assert environment.read().gatehouse_env == "production"
