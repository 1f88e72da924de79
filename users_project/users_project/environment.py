"""Every setting of the users project: an environment variable, read and checked here and nowhere else."""

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
    """The variables are the fields' names in capitals. A bad value raises `ImproperlyConfigured` in `read`."""

    gatehouse_var: AbsolutePath = Field(
        Path(__file__).resolve().parents[2] / "var", description="Directory of all state: databases, keys, logs."
    )
    users_bind: BindAddress = Field("127.0.0.1", description="Address the users service listens on.")
    users_port: int = Field(8002, ge=1, le=65535, description="TCP port of the users service.")
    users_workers: int = Field(2, ge=1, le=64, description="Processes of the users service.")
    users_secret_key: str = Field(
        INSECURE_SECRET_KEY,
        min_length=32,
        description="Django's SECRET_KEY of the users project; it signs its admin's messages from page to page.",
    )
    users_database_url: DatabaseURL | None = Field(
        None, repr=False, description="The same for the users project alone."
    )
    # OWASP's first choice for Argon2id: 19 MiB, two passes, one lane.
    argon2_memory_kib: int = Field(19456, ge=8, le=4_194_304, description="Memory of one password hash, in KiB.")
    argon2_time: int = Field(2, ge=1, le=100, description="Passes over that memory.")


read = partial(read_environment, Environment)
