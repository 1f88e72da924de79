"""Every setting of the orders project: an environment variable, read and checked here and nowhere else."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orders_project import variables
from orders_project.variables import AbsolutePath, BindAddress, DatabaseURL, WebURL

# Of each worker. Python runs one of them at a time; the others wait for the database or the disk.
THREADS = 4
INSECURE_SECRET_KEY = "for-development-only-and-refused-in-production"


class Environment(BaseSettings):
    """The variables of the same names in capitals. A bad value raises `ImproperlyConfigured` in `read`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    gatehouse_env: Literal["development", "production"] = Field(
        "development", description="In production, nothing starts with a default secret and no demo users are made."
    )
    gatehouse_var: AbsolutePath = Field(
        Path(__file__).resolve().parents[2] / "var", description="Directory of all state: databases, keys, logs."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least level logged.")
    gateway_port: int = Field(8001, ge=1, le=65535, description="TCP port of the gateway.")
    jwks_url: WebURL = Field(
        "http://127.0.0.1:{gateway_port}/.well-known/jwks.json",
        description="Where a service fetches the gateway's public keys.",
    )
    token_issuer: str = Field("gatehouse", min_length=1, description="`iss` of every token and passport.")
    orders_bind: BindAddress = Field("127.0.0.1", description="Address the orders service listens on.")
    orders_port: int = Field(8003, ge=1, le=65535, description="TCP port of the orders service.")
    orders_workers: int = Field(2, ge=1, le=64, description="Processes of the orders service.")
    orders_secret_key: str = Field(
        INSECURE_SECRET_KEY, min_length=32, description="Django's SECRET_KEY of the orders project."
    )

    database_url: DatabaseURL | None = Field(
        None,
        repr=False,
        description="PostgreSQL to store in, in place of files: `postgres://user:password@host:5432/name`.",
    )
    orders_database_url: DatabaseURL | None = Field(
        None, repr=False, description="The same for the orders project alone."
    )

    @model_validator(mode="after")
    def production_needs_a_secret(self) -> Self:
        """Refuse the secret that everyone can read in this file, and another project's."""
        if self.gatehouse_env == "production":
            variables.secret_is_own("ORDERS_SECRET_KEY", self.orders_secret_key, default=INSECURE_SECRET_KEY)
        return self


def read() -> Environment:
    """Return the checked environment; raise `ImproperlyConfigured` that names every variable with a bad value."""
    environment = variables.read(Environment)
    return environment.model_copy(
        update={"jwks_url": environment.jwks_url.format(gateway_port=environment.gateway_port)}
    )
