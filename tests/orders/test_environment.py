import pytest
from django.core.exceptions import ImproperlyConfigured

from orders_project import environment, variables


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


def test_a_secret_that_is_too_short_is_not_repeated(monkeypatch):
    monkeypatch.setenv("ORDERS_SECRET_KEY", "hunter2")
    with pytest.raises(ImproperlyConfigured, match="ORDERS_SECRET_KEY") as refused:
        environment.read()
    assert "hunter2" not in str(refused.value)


def test_production_wants_a_secret_of_its_own(monkeypatch):
    monkeypatch.setenv("GATEHOUSE_ENV", "production")
    with pytest.raises(ImproperlyConfigured, match="ORDERS_SECRET_KEY"):
        environment.read()
    monkeypatch.setenv("ORDERS_SECRET_KEY", "a-secret-of-one's-own-that-nobody-else-knows")
    assert environment.read().gatehouse_env == "production"


@pytest.mark.parametrize("url", ["postgres://u:p@h:5432/x", "postgresql:///x"])
def test_a_database_of_postgresql_is_taken(monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    assert environment.read().database_url == url


def test_a_directory_of_state_is_its_owners_alone_or_names_its_variable(tmp_path):
    made = variables.state_directory(tmp_path / "var", "orders")
    assert (made, made.stat().st_mode & 0o777) == (tmp_path / "var" / "orders", 0o700)
    (tmp_path / "file").touch()
    with pytest.raises(ImproperlyConfigured, match="GATEHOUSE_VAR: expected a directory"):
        variables.state_directory(tmp_path / "file", "orders")


def test_a_bad_setting_ends_a_program_with_its_message_alone(monkeypatch):
    assert variables.or_exit(lambda: 5) == 5
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SystemExit, match=r"^LOG_LEVEL: .* got 'loud'$"):
        variables.or_exit(environment.read)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ORDERS_WORKERS", "many", "ORDERS_WORKERS: expected a whole number from 1 to 64, got 'many'"),
        ("ORDERS_PORT", "70000", "ORDERS_PORT: expected a whole number from 1 to 65535, got '70000'"),
        ("ORDERS_PORT", "9" * 5000, "ORDERS_PORT: expected a whole number from 1 to 65535, got '{value}'"),
        ("LOG_LEVEL", "info", "LOG_LEVEL: expected DEBUG, INFO, WARNING or ERROR, got 'info'"),
        ("GATEHOUSE_ENV", "prod", "GATEHOUSE_ENV: expected development or production, got 'prod'"),
        ("ORDERS_SECRET_KEY", "hunter2", "ORDERS_SECRET_KEY: expected at least 32 characters"),
        (
            "ORDERS_BIND",
            "localhost:80",
            "ORDERS_BIND: expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1, without a port, got '{value}'",
        ),
        (
            "JWKS_URL",
            "gateway:8001",
            "JWKS_URL: expected a URL that begins with http:// or https://, got 'gateway:8001'",
        ),
    ],
)
def test_a_bad_value_is_told_in_plain_words(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as refused:
        environment.read()
    assert str(refused.value) == said.format(value=value)


@pytest.mark.parametrize(
    ("value", "address", "bound"),
    [
        ("127.0.0.2", "127.0.0.2", "127.0.0.2:8003"),
        ("::1", "::1", "[::1]:8003"),
        ("[::1]", "::1", "[::1]:8003"),
        ("0:0:0:0:0:0:0:0", "::", "[::]:8003"),
        ("localhost", "localhost", "localhost:8003"),
    ],
)
def test_an_address_is_bound_as_it_is_written_with_or_without_brackets(monkeypatch, value, address, bound):
    monkeypatch.setenv("ORDERS_BIND", value)
    assert environment.read().orders_bind == address
    assert variables.listening("ORDERS_BIND", address, 8003) == bound
