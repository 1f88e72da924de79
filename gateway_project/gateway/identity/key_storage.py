"""Where the signing keys are kept: in a directory, or encrypted in the gateway's database, for all replicas."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Union

from django.conf import settings

if TYPE_CHECKING:
    from .key_rows import KeyRows

SUFFIX: Final = ".pem"


class KeyFiles:
    """A directory with a file for each key. With `read_only`, someone else puts them there, as a Kubernetes Secret."""

    # A request may look at it.
    is_local = True

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        self.directory = directory
        self.read_only = read_only

    def __str__(self) -> str:
        return str(self.directory)

    def wait(self) -> None:
        pass

    @property
    def remedy(self) -> str:
        return (
            "Put a key there: GATEWAY_KEYS is never written." if self.read_only else "Restart the gateway to make one."
        )

    def place(self, name: str) -> str:
        return str(self.directory / f"{name}{SUFFIX}")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time make or remove keys."""
        if self.read_only:
            raise ValueError(f"{self}: GATEWAY_KEYS is never written. Make and remove keys where it comes from.")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def names(self) -> frozenset[str]:
        return frozenset(path.stem for path in self.directory.iterdir() if path.suffix == SUFFIX)

    def read(self, name: str) -> bytes:
        """Return a key's content; raise `ValueError` if others can read it, `OSError` if it is gone."""
        path = self.directory / f"{name}{SUFFIX}"
        # A mounted Secret belongs to root, and to a group in which the gateway is.
        forbidden = 0o027 if self.read_only else 0o077
        if path.stat().st_mode & forbidden:
            raise ValueError(f"{path}: others can read this key. Run `chmod 600` on it.")
        return path.read_bytes()

    def add(self, name: str, content: bytes) -> None:
        """Store a key durably, whole or not at all. The caller holds the lock."""
        unfinished = self.directory / ".unfinished"
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self.directory / f"{name}{SUFFIX}")
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        (self.directory / f"{name}{SUFFIX}").unlink()


# Keys by their names, each a PEM with lines above it. What is stored never changes.
KeyStorage = Union[KeyFiles, "KeyRows"]


def configured() -> KeyStorage:
    """Return the storage that the settings name."""
    if settings.KEYS_SECRET:
        from .key_rows import KeyRows  # needs loaded models

        return KeyRows(settings.KEYS_SECRET)
    return KeyFiles(settings.KEYS, read_only=settings.KEYS_READ_ONLY)
