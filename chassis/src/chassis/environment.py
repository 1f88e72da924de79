"""A project's environment variables, read and checked in one place, with messages that name the variable.

class Environment(ServiceEnvironment):
    books_port: int = Field(9000, ge=1, le=65535, description="TCP port of the books service.")

ENV = read_environment(Environment)
"""

import os
import re
import socket
import sys
from collections.abc import Callable
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from . import tracing
from .trace_context import SamplerName

# The default of every `…_secret_key`; production rejects it.
INSECURE_SECRET_KEY = "for-development-only-and-rejected-in-production"
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?")
# How the names of variables end whose values are not shown, and which may come from a file.
_SECRETS: Final = ("SECRET_KEY", "KEYS_SECRET", "DATABASE_URL", "REDIS_URL")
Settings = TypeVar("Settings", bound=BaseSettings)
Result = TypeVar("Result")


def _check_database_url(value: str) -> str:
    # The message does not repeat the value, which contains a password.
    try:
        named = value.startswith(("postgres://", "postgresql://")) and dj_database_url.parse(value)["NAME"]
    except ValueError:
        named = False
    if not named:
        raise ValueError("expected postgres://user:password@host:5432/name")
    return value


def _check_bind_address(value: str) -> str:
    """Return the address without brackets."""
    address = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ip_address(address))
    except ValueError:
        if _HOST_NAME.fullmatch(value):
            return value
    raise ValueError("expected an IP address such as 127.0.0.1, 0.0.0.0 or ::1, without a port")


def _check_web_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("expected a URL that begins with http:// or https://")
    return value


DatabaseURL = Annotated[str, AfterValidator(_check_database_url)]
# Relative to where the program was started; a message that names the path then shows where it was looked for.
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
BindAddress = Annotated[str, AfterValidator(_check_bind_address)]
WebURL = Annotated[str, AfterValidator(_check_web_url)]


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many cores this process may use: those it may run on, or the container's share (cgroup v2)."""
    usable = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text().split()
        return max(1, min(usable, int(share) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return usable


@cache
def listening(name: str, address: str, port: int) -> str:
    """Return gunicorn's `bind`; raise `ImproperlyConfigured` if this machine does not have the address.

    A reload reads gunicorn's settings again, and has the socket already: it must not fail while a name is unknown.
    """
    try:
        family, kind, *_, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(place)
    except OSError as exc:
        raise ImproperlyConfigured(
            f"{name}: expected an address of this machine, got {address!r} ({exc.strerror})"
        ) from exc
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _check_secret(name: str, secret: str) -> None:
    """Reject a secret that is public, or that another project has, as far as the environment shows it."""
    if secret == INSECURE_SECRET_KEY:
        raise ValueError(f"{name}: expected a secret of your own in production, got the default")
    for other, value in sorted(os.environ.items()):
        if other.endswith("_SECRET_KEY") and other != name and value == secret:
            raise ValueError(f"{name}: expected another secret than that of {other}: in production each has its own")


class SecretFiles(PydanticBaseSettingsSource):
    """Reads secrets from files: `BOOKS_SECRET_KEY_FILE` is the path of one whose content is `BOOKS_SECRET_KEY`.

    So containers get them: from the environment every program of the container can read them.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the content of the field's file, without the newline at its end."""
        name = field_name.upper()
        path = os.environ.get(f"{name}_FILE")
        if not path or not name.endswith(_SECRETS):
            return None, field_name, False
        if os.environ.get(name):
            raise ImproperlyConfigured(f"{name}: expected one of {name} and {name}_FILE, got both")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, ValueError) as exc:
            raise ImproperlyConfigured(f"{name}_FILE: expected a file with the secret: {exc}") from exc

    def __call__(self) -> dict[str, Any]:
        found = ((name, self.get_field_value(field, name)[0]) for name, field in self.settings_cls.model_fields.items())
        return {name: value for name, value in found if value is not None}


class Environment(BaseSettings):
    """What every project reads. The variables are the fields' names in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return *sources, *named.values(), SecretFiles(settings_cls)

    gatehouse_env: Literal["development", "production"] = Field(
        "development", description="In production, nothing starts with a default secret and no demo users are made."
    )
    gatehouse_var: AbsolutePath = Field(description="Directory of all state: databases, keys, logs.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least level logged.")
    gateway_port: int = Field(8001, ge=1, le=65535, description="TCP port of the gateway.")
    token_issuer: str = Field("gatehouse", min_length=1, description="`iss` of every token and passport.")
    otel_exporter_otlp_endpoint: WebURL | None = Field(
        None, description="OTLP/HTTP receiver of spans, such as `http://127.0.0.1:4318`."
    )
    otel_traces_sampler: SamplerName = Field("parentbased_always_on", description="Which traces are recorded.")
    otel_traces_sampler_arg: float = Field(
        1.0, ge=0, le=1, description="The share of traces that a sampler with `traceidratio` records."
    )
    database_url: DatabaseURL | None = Field(
        None,
        repr=False,
        description="PostgreSQL to store in, in place of files: `postgres://user:password@host:5432/name`.",
    )

    @model_validator(mode="after")
    def production_needs_secrets(self) -> Self:
        """Reject secrets that anyone can read in this file, and those of other projects."""
        if self.gatehouse_env == "production":
            for name, value in self:
                if name.endswith("_secret_key"):
                    _check_secret(name.upper(), value)
        return self

    @model_validator(mode="after")
    def check_tracing(self) -> Self:
        """Reject what `tracing` reads itself and cannot use."""
        tracing.read_settings()
        return self


class ServiceEnvironment(Environment):
    """What a service behind the gateway reads too."""

    jwks_url: WebURL = Field(
        "http://127.0.0.1:{gateway_port}/.well-known/jwks.json",
        description="Where a service fetches the gateway's public keys.",
    )

    @model_validator(mode="after")
    def use_gateway_port(self) -> Self:
        object.__setattr__(self, "jwks_url", self.jwks_url.format(gateway_port=self.gateway_port))
        return self


def read_environment(kind: type[Settings]) -> Settings:
    """Return the checked variables; raise `ImproperlyConfigured` that names each with a bad value."""
    try:
        return kind()
    except ValidationError as exc:
        raise ImproperlyConfigured("; ".join(_describe(error) for error in exc.errors())) from exc


def _describe(error: ErrorDetails) -> str:
    """Return what was expected of which variable, and the value, unless that is a secret."""
    said = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    if not error["loc"]:
        return said
    name = str(error["loc"][0]).upper()
    value = "" if name.endswith(_SECRETS) else f", got {error['input']!r}"
    return f"{name}: {said[0].lower()}{said[1:]}{value}"


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
        result = work()
        sys.stdout.flush()
    except ImproperlyConfigured as exc:
        sys.exit(str(exc))
    except BrokenPipeError:
        # The reader of the output, such as `head`, has ended. Nothing more can be written, also not at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    return result
