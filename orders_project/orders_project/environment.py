"""The orders project's environment variables: the names of these fields in capitals."""

from functools import partial
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


class Environment(ServiceEnvironment):
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


read = partial(read_environment, Environment)
