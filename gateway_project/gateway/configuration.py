"""The process's one configuration: gateway.yaml as the environment names it, loaded at first use.

Under gunicorn its master loads the file, at the start and at each reload, and the workers have it from there.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

from .config import Config, load
from .policy.routes import RouteTable


@dataclass(frozen=True)
class Loaded:
    """A gateway.yaml as gunicorn's master has loaded it; as text, what the log says of it."""

    config: Config
    path: Path
    digest: str

    def __str__(self) -> str:
        count = len(self.config.routes)
        return f"{count} route{'' if count == 1 else 's'} of {self.path.name} (sha256 {self.digest[:8]})"


loaded: Loaded | None = None


def load_in_master(path: Path) -> Loaded:
    """Load the file for the workers that are forked from here on; raise `ConfigError`, and keep what there was."""
    global loaded  # noqa: PLW0603  # gunicorn reads its settings anew at each reload, and keeps nothing of the last ones
    config = load(path, os.environ)
    loaded = Loaded(config, path, hashlib.sha256(path.read_bytes()).hexdigest())
    return loaded


@cache
def current() -> Config:
    """Return the loaded gateway.yaml; raise `ConfigError` with all of its faults."""
    return loaded.config if loaded else load(settings.GATEWAY_CONFIG, os.environ)


@cache
def route_table() -> RouteTable:
    """Return the table that requests are matched with."""
    return RouteTable(current())
