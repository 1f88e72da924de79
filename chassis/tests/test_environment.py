"""Environment variables of a project, and what is said of a bad one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pydantic import Field

from chassis.environment import (
    INSECURE_SECRET_KEY,
    AbsolutePath,
    BindAddress,
    DatabaseURL,
    ServiceEnvironment,
    cores,
    listening,
    or_exit,
    read_environment,
    state_directory,
)


class Environment(ServiceEnvironment):
    gatehouse_var: AbsolutePath = Field(Path("var"), description="Directory of all state.")
    shop_bind: BindAddress = Field("127.0.0.1", description="Address the shop listens on.")
    shop_port: int = Field(9000, ge=1, le=65535, description="TCP port of the shop.")
    shop_workers: int = Field(2, ge=1, le=64, description="Processes of the shop.")
    shop_secret_key: str = Field(INSECURE_SECRET_KEY, min_length=32, description="Django's SECRET_KEY.")
    shop_database_url: DatabaseURL | None = Field(None, repr=False, description="PostgreSQL of the shop.")


def read() -> Environment:
    return read_environment(Environment)


def test_the_defaults_are_good(monkeypatch):
    for name in Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    env = read()
    assert (env.shop_bind, env.shop_port, env.shop_workers) == ("127.0.0.1", 9000, 2)
    assert env.jwks_url == "http://127.0.0.1:8001/.well-known/jwks.json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHOP_PORT", "x"),
        ("SHOP_PORT", "70000"),
        ("SHOP_WORKERS", "0"),
        ("SHOP_SECRET_KEY", "short"),
        ("JWKS_URL", "ftp://x"),
        ("GATEHOUSE_ENV", "test"),
        ("LOG_LEVEL", "loud"),
        ("DATABASE_URL", "mysql://u:hunter2@h/shop"),
        ("DATABASE_URL", "postgres://u:hunter2@h:port/shop"),
        ("SHOP_DATABASE_URL", "postgres://u:hunter2@h/"),
        ("SHOP_DATABASE_URL", "hunter2"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name) as refused:
        read()
    assert "hunter2" not in str(refused.value)


def test_every_setting_is_described():
    assert all(field.description for field in Environment.model_fields.values())


def test_a_secret_that_is_too_short_is_not_repeated(monkeypatch):
    monkeypatch.setenv("SHOP_SECRET_KEY", "hunter2")
    with pytest.raises(ImproperlyConfigured, match="SHOP_SECRET_KEY") as refused:
        read()
    assert "hunter2" not in str(refused.value)


def test_production_wants_a_secret_of_its_own(monkeypatch):
    monkeypatch.setenv("GATEHOUSE_ENV", "production")
    with pytest.raises(ImproperlyConfigured, match="SHOP_SECRET_KEY"):
        read()
    monkeypatch.setenv("SHOP_SECRET_KEY", "a-secret-of-one's-own-that-nobody-else-knows")
    assert read().gatehouse_env == "production"


@pytest.mark.parametrize("url", ["postgres://u:p@h:5432/x", "postgresql:///x"])
def test_a_database_of_postgresql_is_taken(monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    assert read().database_url == url


def test_a_directory_of_state_is_its_owners_alone_or_names_its_variable(tmp_path):
    made = state_directory(tmp_path / "var", "shop")
    assert (made, made.stat().st_mode & 0o777) == (tmp_path / "var" / "shop", 0o700)
    (tmp_path / "file").touch()
    with pytest.raises(ImproperlyConfigured, match="GATEHOUSE_VAR: expected a directory"):
        state_directory(tmp_path / "file", "shop")


def test_a_bad_setting_ends_a_program_with_its_message_alone(monkeypatch):
    assert or_exit(lambda: 5) == 5
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SystemExit, match=r"^LOG_LEVEL: .* got 'loud'$"):
        or_exit(read)


def test_a_reader_of_the_output_that_ends_causes_no_traceback():
    program = "from chassis.environment import or_exit; or_exit(lambda: print('x' * {}))"
    for length in (1, 1_000_000):
        process = subprocess.Popen(
            [sys.executable, "-c", program.format(length)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(30) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "SHOP_WORKERS",
            "many",
            "SHOP_WORKERS: input should be a valid integer, unable to parse string as an integer, got 'many'",
        ),
        ("SHOP_PORT", "70000", "SHOP_PORT: input should be less than or equal to 65535, got '70000'"),
        ("LOG_LEVEL", "info", "LOG_LEVEL: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', got 'info'"),
        ("GATEHOUSE_ENV", "prod", "GATEHOUSE_ENV: input should be 'development' or 'production', got 'prod'"),
        ("SHOP_SECRET_KEY", "hunter2", "SHOP_SECRET_KEY: string should have at least 32 characters"),
        (
            "SHOP_BIND",
            "localhost:80",
            "SHOP_BIND: expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1, without a port, got '{value}'",
        ),
        (
            "JWKS_URL",
            "gateway:8001",
            "JWKS_URL: expected a URL that begins with http:// or https://, got 'gateway:8001'",
        ),
    ],
)
def test_a_bad_value_is_described_in_plain_words(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as refused:
        read()
    assert str(refused.value) == said.format(value=value)


@pytest.mark.parametrize(
    ("value", "address", "bound"),
    [
        ("127.0.0.2", "127.0.0.2", "127.0.0.2:9000"),
        ("::1", "::1", "[::1]:9000"),
        ("[::1]", "::1", "[::1]:9000"),
        ("0:0:0:0:0:0:0:0", "::", "[::]:9000"),
        ("localhost", "localhost", "localhost:9000"),
    ],
)
def test_an_address_is_bound_as_it_is_written_with_or_without_brackets(monkeypatch, value, address, bound):
    monkeypatch.setenv("SHOP_BIND", value)
    assert read().shop_bind == address
    assert listening("SHOP_BIND", address, 9000) == bound


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path):
    path = tmp_path / "secret"
    path.write_text("a secret of at least 32 characters\n")
    monkeypatch.setenv("SHOP_SECRET_KEY_FILE", str(path))
    assert read().shop_secret_key == "a secret of at least 32 characters"
    path.write_text("short")
    with pytest.raises(ImproperlyConfigured, match="SHOP_SECRET_KEY: string should have at least 32") as refused:
        read()
    assert "short" not in str(refused.value)


def test_a_secrets_file_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match=r"DATABASE_URL_FILE: expected a file with the secret: .*missing"):
        read()


def test_a_secret_and_its_file_are_not_both_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@h:5432/x")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "secret"))
    with pytest.raises(ImproperlyConfigured, match="expected one of DATABASE_URL and DATABASE_URL_FILE, got both"):
        read()


def test_other_settings_are_not_read_from_files(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOP_PORT_FILE", str(tmp_path / "missing"))
    assert read().shop_port == 9000


@pytest.mark.parametrize(("quota", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_the_cores_are_those_that_the_container_may_use(tmp_path, quota, expected):
    path = tmp_path / "cpu.max"
    path.write_text(f"{quota}\n")
    assert cores(path) == (expected or len(os.sched_getaffinity(0)))


def test_without_a_quota_the_cores_are_those_of_the_process(tmp_path):
    assert cores(tmp_path / "missing") == len(os.sched_getaffinity(0))
