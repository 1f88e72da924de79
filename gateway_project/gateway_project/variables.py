"""Environment variables: what is said of a bad one, and what several projects read alike.

This file is the same in each project.
"""

import os
import re
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeVar

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from pydantic import AfterValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

# Seconds that PostgreSQL is waited for: for a connection or a lock, for a statement, and for a network that has gone.
LOCK_TIMEOUT = 5
STATEMENT_TIMEOUT = 15
NETWORK_TIMEOUT = 15
HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?")
# What pydantic calls the ways to miss a whole number within its bounds.
NUMBER_ERRORS = frozenset({"int_parsing", "int_parsing_size", "greater_than_equal", "less_than_equal"})
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


def names_host(value: str) -> str:
    """Return the address without brackets; refuse what is neither an IP address nor a host name."""
    address = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ip_address(address))
    except ValueError:
        if HOST_NAME.fullmatch(value):
            return value
    raise ValueError("expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1, without a port")


def names_url(value: str) -> str:
    """Refuse what begins with no scheme of the web."""
    if not value.startswith(("http://", "https://")):
        raise ValueError("expected a URL that begins with http:// or https://")
    return value


DatabaseURL = Annotated[str, AfterValidator(names_postgresql)]
# From where the program was started; a message that names the path then says where it was looked for.
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
BindAddress = Annotated[str, AfterValidator(names_host)]
WebURL = Annotated[str, AfterValidator(names_url)]


def listening(name: str, address: str, port: int) -> str:
    """Return gunicorn's `bind`; raise `ImproperlyConfigured` if this machine does not have the address."""
    try:
        family, kind, *_, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(place)
    except OSError as exc:
        raise ImproperlyConfigured(
            f"{name}: expected an address of this machine, got {address!r} ({exc.strerror})"
        ) from exc
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def secret_is_own(name: str, secret: str, *, default: str) -> None:
    """Refuse a secret that is public, or that another project has, as far as the environment shows it."""
    if secret == default:
        raise ValueError(f"{name}: expected a secret of your own in production, got the default")
    for other, value in sorted(os.environ.items()):
        if other.endswith("_SECRET_KEY") and other != name and value == secret:
            raise ValueError(f"{name}: expected another secret than that of {other}: in production each has its own")


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
        raise ImproperlyConfigured("; ".join(fault(error, kind) for error in exc.errors())) from exc


def fault(error: ErrorDetails, kind: type[BaseSettings]) -> str:
    """Return what was expected of which variable, and what came, unless that is a secret."""
    if not error["loc"]:
        return str(error["ctx"]["error"])
    field = str(error["loc"][0])
    name = field.upper()
    came = "" if name.endswith(("SECRET_KEY", "DATABASE_URL")) else f", got {error['input']!r}"
    return f"{name}: {expectation(error, kind.model_fields[field])}{came}"


def expectation(error: ErrorDetails, field: FieldInfo) -> str:
    """Return what was expected, in our words."""
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    if error["type"] in NUMBER_ERRORS:
        (least,) = (bound.ge for bound in field.metadata if hasattr(bound, "ge"))
        (most,) = (bound.le for bound in field.metadata if hasattr(bound, "le"))
        return f"expected a whole number from {least} to {most}"
    if error["type"] == "literal_error":
        return "expected " + str(context["expected"]).replace("'", "")
    if error["type"] == "string_too_short":
        return f"expected at least {context['min_length']} characters"
    return f"expected another value. {field.description}"


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
