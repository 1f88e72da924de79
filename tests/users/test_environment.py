import pytest
from django.core.exceptions import ImproperlyConfigured

from users_project import environment


def test_the_defaults_are_good(monkeypatch):
    for name in environment.Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    env = environment.read()
    assert (env.users_bind, env.users_port, env.users_workers) == ("127.0.0.1", 8002, 2)
    assert env.jwks_url == "http://127.0.0.1:8001/.well-known/jwks.json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USERS_PORT", "x"), ("USERS_PORT", "70000"), ("USERS_WORKERS", "0"), ("USERS_SECRET_KEY", "short"),
        ("JWKS_URL", "ftp://x"), ("GATEHOUSE_ENV", "test"), ("LOG_LEVEL", "loud"),
        ("DATABASE_URL", "mysql://user:hunter2@host/users"), ("DATABASE_URL", "postgres://user:hunter2@host"),
        ("USERS_DATABASE_URL", "postgres://user:hunter2@host:x/users"), ("ARGON2_MEMORY_KIB", "4"),
        ("ARGON2_TIME", "0"),
    ],
)  # fmt: skip
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


def test_every_setting_is_described():
    assert all(field.description for field in environment.Environment.model_fields.values())
