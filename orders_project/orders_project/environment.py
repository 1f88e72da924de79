"""Every setting of the orders project: an environment variable, read and checked here and nowhere else."""

from pathlib import Path

from pydantic import Field

from chassis.environment import (
    INSECURE_SECRET_KEY,
    AbsolutePath,
    BindAddress,
    DatabaseURL,
    ServiceEnvironment,
    read_environment,
)

# Of each worker. Python runs one of them at a time; the others wait for the database or the disk.
THREADS = 4


class Environment(ServiceEnvironment):
    """The variables are the fields' names in capitals. A bad value raises `ImproperlyConfigured` in `read`."""

    gatehouse_var: AbsolutePath = Field(
        Path(__file__).resolve().parents[2] / "var", description="Directory of all state: databases, keys, logs."
    )
    orders_bind: BindAddress = Field("127.0.0.1", description="Address the orders service listens on.")
    orders_port: int = Field(8003, ge=1, le=65535, description="TCP port of the orders service.")
    orders_workers: int = Field(2, ge=1, le=64, description="Processes of the orders service.")
    orders_secret_key: str = Field(
        INSECURE_SECRET_KEY, min_length=32, description="Django's SECRET_KEY of the orders project."
    )

    orders_database_url: DatabaseURL | None = Field(
        None, repr=False, description="The same for the orders project alone."
    )


def read() -> Environment:
    """Return the checked environment; raise `ImproperlyConfigured` that names every variable with a bad value."""
    return read_environment(Environment)
