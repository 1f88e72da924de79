"""Environment variables: what is said of a bad one, and what several projects read alike.

This file is the same in each project.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from pydantic import AfterValidator, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

# Seconds that PostgreSQL is waited for: for a connection or a lock, for a statement, and for a network that has gone.
LOCK_TIMEOUT = 5
STATEMENT_TIMEOUT = 15
NETWORK_TIMEOUT = 15
Settings = TypeVar("Settings", bound=BaseSettings)
Result = TypeVar("Result")


def names_postgresql(value: str) -> str:
    """Refuse what names no database of PostgreSQL; without repeating it, as it holds a password."""
    try:
        named = value.startswith(("postgres://", "postgresql://")) and dj_database_url.parse(value)["NAME"]
    except ValueError:
        named = False
    if not named:
        raise ValueError("expected postgres://user:password@host:5432/name")
    return value


DatabaseURL = Annotated[str, AfterValidator(names_postgresql)]


def postgresql(url: str) -> dict[str, Any]:
    """Return Django's settings of that database, with a bound on every wait for it. `options` in the URL win."""
    settings: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=None, conn_health_checks=True)}
    own = settings.setdefault("OPTIONS", {})
    bounds = f"-c lock_timeout={LOCK_TIMEOUT}s -c statement_timeout={STATEMENT_TIMEOUT}s"
    own.update(
        {
            # What is said here of writers holds in this level; a server can be set to another.
            "isolation_level": IsolationLevel.READ_COMMITTED,
            "connect_timeout": LOCK_TIMEOUT,
            # The server's default may be off, which acknowledges what a crash then takes.
            "options": f"{bounds} -c synchronous_commit=on {own.get('options', '')}".rstrip(),
            # What is sent and not received, and then a connection on which nothing comes.
            "tcp_user_timeout": NETWORK_TIMEOUT * 1000,
            "keepalives_idle": NETWORK_TIMEOUT // 3,
            "keepalives_interval": NETWORK_TIMEOUT // 3,
            "keepalives_count": 2,
        }
    )
    return settings


def read(kind: type[Settings]) -> Settings:
    """Return the checked variables; raise `ImproperlyConfigured` that names each with a bad value."""
    try:
        return kind()
    except ValidationError as exc:
        raise ImproperlyConfigured("; ".join(fault(error) for error in exc.errors())) from exc


def fault(error: ErrorDetails) -> str:
    """Return what was expected of which variable, and what came, unless that is a secret."""
    if not error["loc"]:
        return str(error["ctx"]["error"])
    name = str(error["loc"][0]).upper()
    came = "" if name.endswith(("SECRET_KEY", "DATABASE_URL")) else f", got {error['input']!r}"
    return f"{name}: {error['msg'].removeprefix('Value error, ')}{came}"


def state_directory(var: Path, project: str) -> Path:
    """Return the project's directory of state, for its owner alone; raise `ImproperlyConfigured` where it cannot be."""
    state = var / project
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise ImproperlyConfigured(f"GATEHOUSE_VAR: expected a directory to keep state in: {exc}") from exc
    return state


def or_exit(work: Callable[[], Result]) -> Result:
    """Return what the work does; where a setting is bad, end the program with that message alone, and status 1."""
    try:
        return work()
    except ImproperlyConfigured as exc:
        sys.exit(str(exc))
