"""gateway.yaml, as the environment names it.

Under gunicorn its master loads the file, at the start and at each reload, and the workers that it forks use that. At
SIGHUP, and with `GATEWAY_WATCH` at each change, the master shares the file with the workers that run too, as a copy in
the state directory and a digest in memory.
"""

import hashlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings

from .config import Config, load

# Of a digest, for people.
DIGITS: Final = 8
# The digest of what is in force, from the master to the workers that it forks; zeros where nothing is shared.
_SHARED: Final = mmap.mmap(-1, hashlib.sha256().digest_size)


@dataclass(frozen=True)
class Loaded:
    """A gateway.yaml that gunicorn's master has loaded; `str` is its description for the log."""

    config: Config
    path: Path
    digest: str
    content: bytes

    def __str__(self) -> str:
        count = len(self.config.routes)
        return f"{count} route{'' if count == 1 else 's'} of {self.path.name} (sha256 {self.digest[:DIGITS]})"


loaded: Loaded | None = None


def digest_on_disk(path: Path) -> str:
    """Return the first digits of the digest of the file as it is now, empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]
    except OSError:
        return ""


def rejection(path: Path, faults: Sequence[object]) -> str:
    """Return the description of a rejected file for the audit trail. The log has the faults, which may show values."""
    count = len(faults)
    return f"{count} fault{'' if count == 1 else 's'} (sha256 {digest_on_disk(path)}); still in force: {loaded}"


def load_in_master(path: Path, copy: Path | None = None) -> Loaded:
    """Load the file for the workers that are forked next, with `copy` also for those that run.

    Raises `ConfigError` and keeps the last one.
    """
    global loaded  # noqa: PLW0603  # gunicorn reads its settings again at each reload, and keeps nothing of the last ones
    config = load(path, os.environ)
    content = path.read_bytes()
    loaded = Loaded(config, path, hashlib.sha256(content).hexdigest(), content)
    if copy is not None:
        share(loaded, copy)
    else:
        # Workers that a reload is to replace stay with what they have.
        _SHARED[:] = bytes(len(_SHARED))
    return loaded


def share(one: Loaded, copy: Path) -> None:
    """Let the workers that run take it up."""
    keep(one, copy)
    _SHARED[:] = bytes.fromhex(one.digest)


def keep(one: Loaded, copy: Path) -> None:
    """Write the loaded file, for `check --diff` and for the workers that take it up."""
    written = copy.with_suffix(".new")
    written.write_bytes(one.content)
    written.replace(copy)


def is_current() -> bool:
    """Return whether this worker has what the master shares."""
    return loaded is None or _SHARED[:] in {bytes.fromhex(loaded.digest), bytes(len(_SHARED))}


def load_shared(copy: Path, path: Path) -> Loaded:
    """Return what the master shares, for this worker."""
    content = copy.read_bytes()
    return Loaded(load(copy, os.environ), path, hashlib.sha256(content).hexdigest(), content)


def take_up(one: Loaded) -> None:
    """Note what this worker serves now."""
    global loaded  # noqa: PLW0603
    loaded = one


def load_config() -> Config:
    """Return gateway.yaml, from the master if there is one; raise `ConfigError` with all of its faults."""
    return loaded.config if loaded else load(settings.GATEWAY_CONFIG, os.environ)
