"""Settings from the environment."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_project import environment

SECRET = "a-secret-of-one's-own-that-nobody-else-knows"


def test_the_defaults_are_safe_for_one_machine() -> None:
    env = environment.read()
    assert env.gateway_bind == "127.0.0.1"
    assert env.trusted_proxies == ()
    assert env.gateway_allowed_hosts == ("localhost", "127.0.0.1", "[::1]")


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, ::1/128,")
    monkeypatch.setenv("GATEWAY_ALLOWED_HOSTS", "api.example.org,.example.com")
    env = environment.read()
    assert env.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert env.gateway_allowed_hosts == ("api.example.org", ".example.com")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEHOUSE_ENV", "staging"),
        ("GATEWAY_PORT", "0"),
        ("GATEWAY_PORT", "http"),
        ("GATEWAY_WORKERS", "0"),
        ("LOG_LEVEL", "loud"),
        ("ACCESS_TOKEN_TTL", "-1"),
        ("MAX_HEADER_BYTES", "8191"),
        ("MAX_HEADER_BYTES", "1048577"),
        ("MAX_HEADER_FIELD_BYTES", "1023"),
        ("MAX_HEADER_FIELD_BYTES", "65537"),
        ("MAX_HEADER_FIELDS", "19"),
        ("MAX_HEADER_FIELDS", "1001"),
        ("REFRESH_TOKEN_TTL", "5"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("METRICS_NETWORKS", "everyone"),
        ("GATEWAY_ALLOWED_HOSTS", ","),
        ("DATABASE_URL", "mysql://u:hunter2@h/gateway"),
        ("DATABASE_URL", "postgres://u:hunter2@h:port/gateway"),
        ("GATEWAY_DATABASE_URL", "postgres://u:hunter2@h/"),
        ("GATEWAY_DATABASE_URL", "hunter2"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name) as refused:
        environment.read()
    assert "hunter2" not in str(refused.value)


def test_importing_the_application_makes_the_keys_and_loads_gateway_yaml(settings) -> None:
    import importlib

    from gateway_project import wsgi

    importlib.reload(wsgi)
    assert wsgi.runtime.config.routes
    assert list(settings.KEYS.glob("*.pem"))


def test_all_invalid_values_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "x")
    monkeypatch.setenv("LOG_LEVEL", "x")
    with pytest.raises(ImproperlyConfigured, match=r"LOG_LEVEL.*GATEWAY_PORT"):
        environment.read()


def test_production_requires_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_ENV", "production")
    with pytest.raises(ImproperlyConfigured, match="GATEWAY_SECRET_KEY"):
        environment.read()
    monkeypatch.setenv("GATEWAY_SECRET_KEY", SECRET)
    assert environment.read().gateway_secret_key == SECRET


def test_the_message_for_a_short_secret_does_not_contain_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "hunter2")
    with pytest.raises(ImproperlyConfigured, match="GATEWAY_SECRET_KEY") as refused:
        environment.read()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgres://u:p@h:5432/x", "postgresql:///x"])
def test_a_postgresql_url_is_accepted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert environment.read().database_url == url


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "GATEWAY_WORKERS",
            "many",
            "GATEWAY_WORKERS: input should be a valid integer, unable to parse string as an integer, got 'many'",
        ),
        ("GATEWAY_PORT", "70000", "GATEWAY_PORT: input should be less than or equal to 65535, got '70000'"),
        ("LOG_LEVEL", "info", "LOG_LEVEL: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', got 'info'"),
        ("GATEHOUSE_ENV", "prod", "GATEHOUSE_ENV: input should be 'development' or 'production', got 'prod'"),
        ("GATEWAY_SECRET_KEY", "hunter2", "GATEWAY_SECRET_KEY: string should have at least 32 characters"),
        (
            "GATEWAY_BIND",
            "localhost:80",
            "GATEWAY_BIND: expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1, without a port, got '{value}'",
        ),
        (
            "METRICS_NETWORKS",
            "everyone",
            "METRICS_NETWORKS: expected networks such as 10.0.0.0/8 or ::1/128, separated by commas, got 'everyone'",
        ),
        (
            "TRUSTED_PROXIES",
            "10.0.0.1/8, ::1",
            (
                "TRUSTED_PROXIES: expected networks such as 10.0.0.0/8 or ::1/128, separated by commas; "
                "write 10.0.0.0/8 for the network of 10.0.0.1/8, got '10.0.0.1/8, ::1'"
            ),
        ),
        (
            "GATEWAY_ALLOWED_HOSTS",
            ",",
            "GATEWAY_ALLOWED_HOSTS: expected host names such as api.example.org, separated by commas, got ','",
        ),
    ],
)
def test_an_invalid_value_has_a_plain_message(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as refused:
        environment.read()
    assert str(refused.value) == said.format(value=value)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("localhost", "localhost"),
    ],
)
def test_an_address_is_bound_as_it_is_written_with_or_without_brackets(
    monkeypatch: pytest.MonkeyPatch, value: str, address: str
) -> None:
    monkeypatch.setenv("GATEWAY_BIND", value)
    assert environment.read().gateway_bind == address


@pytest.mark.parametrize(
    ("bind", "more"), [("127.0.0.2", ("127.0.0.2",)), ("::1", ()), ("0.0.0.0", ()), ("::2", ("[::2]",))]
)
def test_the_bound_address_is_an_allowed_host(
    monkeypatch: pytest.MonkeyPatch, bind: str, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv("GATEWAY_BIND", bind)
    assert environment.read().gateway_allowed_hosts == ("localhost", "127.0.0.1", "[::1]", *more)
    monkeypatch.setenv("GATEWAY_ALLOWED_HOSTS", "api.example.org")
    assert environment.read().gateway_allowed_hosts == ("api.example.org",)


def test_a_relative_path_is_relative_to_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_CONFIG", "own.yaml")
    monkeypatch.setenv("GATEHOUSE_VAR", "state")
    env = environment.read()
    assert (env.gateway_config, env.gatehouse_var) == (tmp_path / "own.yaml", tmp_path / "state")
