import pytest
from django.core.exceptions import ImproperlyConfigured

from users_project import environment, variables


def test_the_defaults_are_good(monkeypatch):
    for name in environment.Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    env = environment.read()
    assert (env.users_bind, env.users_port, env.users_workers) == ("127.0.0.1", 8002, 2)
    assert env.jwks_url == "http://127.0.0.1:8001/.well-known/jwks.json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USERS_PORT", "x"),
        ("USERS_PORT", "70000"),
        ("USERS_WORKERS", "0"),
        ("USERS_SECRET_KEY", "short"),
        ("JWKS_URL", "ftp://x"),
        ("GATEHOUSE_ENV", "test"),
        ("LOG_LEVEL", "loud"),
        ("DATABASE_URL", "mysql://user:hunter2@host/users"),
        ("DATABASE_URL", "postgres://user:hunter2@host"),
        ("USERS_DATABASE_URL", "postgres://user:hunter2@host:x/users"),
        ("ARGON2_MEMORY_KIB", "4"),
        ("ARGON2_TIME", "0"),
        ("ARGON2_PARALLELISM", "x"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name) as refused:
        environment.read()
    assert "hunter2" not in str(refused.value)


def test_a_database_of_its_own_wins_over_that_of_all(run):
    source = "from django.conf import settings; print(settings.DATABASES['default']['NAME'], settings.RECORD)"
    everyones = {"DATABASE_URL": "postgres://eva@/everyones"}
    assert run(source, USERS_DATABASE_URL="", **everyones).stdout.split() == ["everyones", "None"]
    assert run(source, USERS_DATABASE_URL="postgresql://eva@/own", **everyones).stdout.split() == ["own", "None"]


def test_lanes_need_memory(monkeypatch):
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "8")
    monkeypatch.setenv("ARGON2_PARALLELISM", "2")
    with pytest.raises(ImproperlyConfigured, match="ARGON2_MEMORY_KIB: expected at least 8 for each"):
        environment.read()


def test_every_setting_is_described():
    assert all(field.description for field in environment.Environment.model_fields.values())


def test_a_secret_that_is_too_short_is_not_repeated(monkeypatch):
    monkeypatch.setenv("USERS_SECRET_KEY", "hunter2")
    with pytest.raises(ImproperlyConfigured, match="USERS_SECRET_KEY") as refused:
        environment.read()
    assert "hunter2" not in str(refused.value)


def test_production_wants_a_secret_of_its_own(monkeypatch):
    monkeypatch.setenv("GATEHOUSE_ENV", "production")
    with pytest.raises(ImproperlyConfigured, match="USERS_SECRET_KEY"):
        environment.read()
    monkeypatch.setenv("USERS_SECRET_KEY", "a-secret-of-one's-own-that-nobody-else-knows")
    assert environment.read().gatehouse_env == "production"


@pytest.mark.parametrize("url", ["postgres://u:p@h:5432/x", "postgresql:///x"])
def test_a_database_of_postgresql_is_taken(monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    assert environment.read().database_url == url


def test_a_directory_of_state_is_its_owners_alone_or_names_its_variable(tmp_path):
    made = variables.state_directory(tmp_path / "var", "users")
    assert (made, made.stat().st_mode & 0o777) == (tmp_path / "var" / "users", 0o700)
    (tmp_path / "file").touch()
    with pytest.raises(ImproperlyConfigured, match="GATEHOUSE_VAR: expected a directory"):
        variables.state_directory(tmp_path / "file", "users")


def test_a_bad_setting_ends_a_program_with_its_message_alone(monkeypatch):
    assert variables.or_exit(lambda: 5) == 5
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SystemExit, match=r"^LOG_LEVEL: .* got 'loud'$"):
        variables.or_exit(environment.read)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("USERS_WORKERS", "many", "USERS_WORKERS: expected a whole number from 1 to 64, got 'many'"),
        ("USERS_PORT", "70000", "USERS_PORT: expected a whole number from 1 to 65535, got '70000'"),
        ("USERS_PORT", "9" * 5000, "USERS_PORT: expected a whole number from 1 to 65535, got '{value}'"),
        ("LOG_LEVEL", "info", "LOG_LEVEL: expected DEBUG, INFO, WARNING or ERROR, got 'info'"),
        ("GATEHOUSE_ENV", "prod", "GATEHOUSE_ENV: expected development or production, got 'prod'"),
        ("USERS_SECRET_KEY", "hunter2", "USERS_SECRET_KEY: expected at least 32 characters"),
        (
            "USERS_BIND",
            "localhost:80",
            "USERS_BIND: expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1, without a port, got '{value}'",
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
        ("127.0.0.2", "127.0.0.2", "127.0.0.2:8002"),
        ("::1", "::1", "[::1]:8002"),
        ("[::1]", "::1", "[::1]:8002"),
        ("0:0:0:0:0:0:0:0", "::", "[::]:8002"),
        ("localhost", "localhost", "localhost:8002"),
    ],
)
def test_an_address_is_bound_as_it_is_written_with_or_without_brackets(monkeypatch, value, address, bound):
    monkeypatch.setenv("USERS_BIND", value)
    assert environment.read().users_bind == address
    assert variables.listening("USERS_BIND", address, 8002) == bound
