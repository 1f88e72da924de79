"""A record of its own for each test, a real issuer of passports, and a client that sends them as the gateway does.

With `USERS_DATABASE_URL` the same tests run on that PostgreSQL database, but for those of the record; see
`tests/postgres.py`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection, connections
from django.http import HttpResponse
from django.test import Client
from tests.issuer import Issuer, trust
from tests.static_files import static_files_listed_once  # noqa: F401  # a fixture

from users import passwords, services, store
from users.models import Deletion, Position, User, UserVersion
from users.store import index

from .admin_pages import passport

PROJECT = Path(__file__).resolve().parents[2] / "users_project"
JSON = "application/json"
STORED = (User, Deletion, UserVersion)
PASSWORD = "correct horse 1"
# The least Argon2 takes: what is tested here is not how long it takes.
CHEAP_HASHES = {"ARGON2_MEMORY_KIB": "8", "ARGON2_TIME": "1"}


@pytest.fixture(scope="session", autouse=True)
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        trust(running.url)
        yield running


@pytest.fixture(autouse=True)
def no_imported_hashes_remembered() -> None:
    passwords.imported_hashes.cache_clear()


ON_POSTGRESQL = django_settings.RECORD is None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests of the record out on PostgreSQL, and those of PostgreSQL elsewhere."""

    def is_elsewhere(item: Any) -> bool:
        of_record = item.get_closest_marker("record") or "record" in item.fixturenames
        return bool(of_record if ON_POSTGRESQL else item.get_closest_marker("postgresql"))

    left_out = [item for item in items if is_elsewhere(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def use(state: Path) -> None:
    """Let the settings mean the record and the index in that directory."""
    connection.close()
    django_settings.RECORD = state / "users.jsonl"
    connections.settings["default"]["NAME"] = state / "index.sqlite3"


@pytest.fixture(scope="session")
def empty_index(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Path]:
    """An index without users, which is copied rather than made for each test; on PostgreSQL its tables."""
    state = tmp_path_factory.mktemp("empty")
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        if ON_POSTGRESQL:
            call_command("migrate", verbosity=0, interactive=False)
        else:
            use(state)
            index.make()
            connection.close()
            tables = shutil.copy(index.path(), state / "tables")
            # Also an index that the store rebuilds in this process: to migrate takes most of the time.
            patch.setattr(index, "call_command", lambda *args, **options: shutil.copyfile(tables, index.path()))
            store.current().open()
            connection.close()
        yield state / "index.sqlite3"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, empty_index: Path, django_db_blocker: Any, settings: Any) -> Iterator[Path]:
    """The test's own directory of state, opened."""
    state = tmp_path / "users"
    state.mkdir(mode=0o700)
    settings.ARGON2 = {"memory_kib": 8, "time": 1}
    with django_db_blocker.unblock():
        if ON_POSTGRESQL:
            empty_tables()
        else:
            for name in ("index.sqlite3", "users.marks.json"):
                shutil.copy(empty_index.with_name(name), state)
            use(state)
        store.current().open()
        yield state
        connection.close()


def empty_tables() -> None:
    """Leave no row in the tables of the users."""
    names = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in (*STORED, Position))
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {names} CASCADE")  # the admin's own log refers to users


@pytest.fixture
def record(state: Path) -> Path:
    """The record; on PostgreSQL, where there is none, a test that wants it is left out."""
    return state / "users.jsonl"


@pytest.fixture
def everything(state: Path) -> Callable[[], object]:
    """Return all that is stored of users: what is the same before and after, nothing has changed."""

    def everything() -> object:
        rows = [list(model.objects.order_by("pk").values()) for model in STORED]
        return rows if ON_POSTGRESQL else [rows, (state / "users.jsonl").read_bytes()]

    return everything


@pytest.fixture
def make(state: Path) -> Callable[..., User]:
    """Make a user: `make("eva", user_type="admin")`."""

    def make(username: str, **values: Any) -> User:
        values = {"email": f"{username}@example.com", "password": PASSWORD} | values
        return services.user_create(username=username, **values)

    return make


def put(user: User) -> User:
    """Store the user with the hash that they have."""
    with store.writing() as writer:
        writer.put(user)
    return user


def remove(user: User) -> None:
    """Delete the user, whatever the services' rules are."""
    with store.writing() as writer:
        writer.remove(user)


@pytest.fixture
def admin(make: Callable[..., User]) -> User:
    return make("root", user_type="admin")


class Api:
    """Calls the service as the gateway does for one user. A fault is the 500 that a client would see."""

    def __init__(self, issuer: Issuer, user_id: int | str, role: str, **claims: Any) -> None:
        passport = issuer.passport(user_id, audience="users", role=role, **claims)
        self.headers = {"authorization": f"Bearer {passport}", "request-user-id": str(user_id)}
        self.client = Client(raise_request_exception=False)

    def __call__(self, method: str, path: str, body: object = None, content_type: str = JSON) -> HttpResponse:
        """Send the value as JSON; text and bytes go as they are."""
        raw = body if isinstance(body, (str, bytes)) else b"" if body is None else json.dumps(body)
        return self.client.generic(method, path, raw, content_type=content_type, headers=self.headers)


@pytest.fixture
def as_user(issuer: Issuer) -> Callable[..., Api]:
    """Return the client of a user: `as_user(1)`, `as_user(2, "admin", sid="…")`."""
    return lambda user_id=1, role="default", **claims: Api(issuer, user_id, role, **claims)


@pytest.fixture
def as_admin(as_user: Callable[..., Api], admin: User) -> Api:
    return as_user(admin.pk, "admin")


@pytest.fixture
def as_gateway(as_user: Callable[..., Api]) -> Api:
    return as_user("gateway", "service")


@pytest.fixture
def browser(admin: User, issuer: Issuer) -> Client:
    """The browser of an admin, as the gateway forwards what it sends."""
    return Client(headers=passport(issuer, admin.pk) | {"Accept": "text/html,*/*;q=0.8"})


def environment(state: Path, **variables: str) -> dict[str, str]:
    """Return the environment of another process on the same state."""
    return os.environ | CHEAP_HASHES | {"GATEHOUSE_VAR": str(state.parent), "LOG_LEVEL": "WARNING"} | variables


def python(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environ, check=False, capture_output=True, text=True, timeout=900)


@pytest.fixture
def manage(state: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run `manage.py` on the test's state, as its own process."""

    def manage(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return python("manage.py", *arguments, **environment(state, **variables))

    return manage


@pytest.fixture
def run(state: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run Python source with the users project set up, in a process of its own on the test's state."""

    def run(source: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        setup = (
            "import django, os; django.setup()\n"
            "from users import services, store\n"
            "from users.store import index, journal, record\n"
        )
        variables = {"DJANGO_SETTINGS_MODULE": "users_project.settings"} | variables
        return python("-c", setup + source, **environment(state, **variables))

    return run


def stored(record: Path) -> list[dict[str, Any]]:
    """Return the lines of the record."""
    return [json.loads(line) for line in record.read_text().splitlines()]
