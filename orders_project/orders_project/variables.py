"""Environment variables: what is said of a bad one, and what several projects read alike.

This file is the same in each project.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from pydantic import AfterValidator, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

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
