"""gateway.yaml, as the environment names it.

Under gunicorn its master loads the file, at the start and at each reload, and the workers that it forks use that.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from .config import Config, load


@dataclass(frozen=True)
class Loaded:
    """A gateway.yaml that gunicorn's master has loaded; `str` is its description for the log."""

    config: Config
    path: Path
    digest: str

    def __str__(self) -> str:
        count = len(self.config.routes)
        return f"{count} route{'' if count == 1 else 's'} of {self.path.name} (sha256 {self.digest[:8]})"


loaded: Loaded | None = None


def load_in_master(path: Path) -> Loaded:
    """Load the file for the workers that are forked next; raise `ConfigError` and keep the last one."""
    global loaded  # noqa: PLW0603  # gunicorn reads its settings again at each reload, and keeps nothing of the last ones
    config = load(path, os.environ)
    loaded = Loaded(config, path, hashlib.sha256(path.read_bytes()).hexdigest())
    return loaded


def load_config() -> Config:
    """Return gateway.yaml, from the master if there is one; raise `ConfigError` with all of its faults."""
    return loaded.config if loaded else load(settings.GATEWAY_CONFIG, os.environ)
