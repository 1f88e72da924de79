"""Where the signing keys are kept: in a directory, or encrypted in the gateway's database, for all replicas."""

import base64
import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import connection, transaction

from .models import SigningKey

# Of PostgreSQL's advisory locks, which are numbers; "keys" in ASCII.
LOCK: Final = int.from_bytes(b"keys")
SUFFIX: Final = ".pem"


def configured() -> "KeyStorage":
    """Return the storage that the settings name."""
    if settings.KEYS_SECRET:
        return KeyRows(settings.KEYS_SECRET)
    return KeyFiles(settings.KEYS, read_only=settings.KEYS_READ_ONLY)


class KeyStorage(Protocol):
    """Keys by their names, each a PEM with lines above it. What is stored never changes."""

    def lock(self) -> AbstractContextManager[None]:
        """Let one process at a time make or remove keys."""

    @property
    def remedy(self) -> str:
        """What an operator does if there are no keys."""

    def place(self, name: str) -> str:
        """Return where a key is, for a message."""

    def names(self) -> frozenset[str]: ...

    def read(self, name: str) -> bytes:
        """Return a key's content; raise `ValueError` where it is not safe, `LookupError` or `OSError` if it is gone."""

    def add(self, name: str, content: bytes) -> None:
        """Store a key durably, whole or not at all. The caller holds the lock."""

    def remove(self, name: str) -> None: ...


class KeyFiles:
    """A directory with a file for each key. With `read_only`, someone else puts them there, as a Kubernetes Secret."""

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        self.directory = directory
        self.read_only = read_only

    def __str__(self) -> str:
        return str(self.directory)

    @property
    def remedy(self) -> str:
        return (
            "Put a key there: GATEWAY_KEYS is never written." if self.read_only else "Restart the gateway to make one."
        )

    def place(self, name: str) -> str:
        return str(self.directory / f"{name}{SUFFIX}")

    @contextmanager
    def lock(self) -> Iterator[None]:
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
        path = self.directory / f"{name}{SUFFIX}"
        # A mounted Secret belongs to root, and to a group in which the gateway is.
        forbidden = 0o027 if self.read_only else 0o077
        if path.stat().st_mode & forbidden:
            raise ValueError(f"{path}: others can read this key. Run `chmod 600` on it.")
        return path.read_bytes()

    def add(self, name: str, content: bytes) -> None:
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


class KeyRows:
    """The gateway's database, so that all replicas have the same keys. A copy of it without the secret has none."""

    def __init__(self, secret: str) -> None:
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"gatehouse signing keys").derive(secret.encode())
        self.cipher = Fernet(base64.urlsafe_b64encode(derived))

    remedy = "Restart the gateway to make one."

    def __str__(self) -> str:
        return "the database"

    def place(self, name: str) -> str:
        return f"key {name} of the database"

    @contextmanager
    def lock(self) -> Iterator[None]:
        with transaction.atomic():  # SQLite's is immediate: it has one writer
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            yield

    def names(self) -> frozenset[str]:
        return frozenset(SigningKey.objects.values_list("name", flat=True))

    def read(self, name: str) -> bytes:
        try:
            return self.cipher.decrypt(bytes(SigningKey.objects.get(name=name).content))
        except SigningKey.DoesNotExist:
            raise LookupError(name) from None
        except InvalidToken:
            message = f"{self.place(name)}: it is encrypted with another secret. Set GATEWAY_KEYS_SECRET to that."
            raise ValueError(message) from None

    def add(self, name: str, content: bytes) -> None:
        SigningKey.objects.create(name=name, content=self.cipher.encrypt(content))

    def remove(self, name: str) -> None:
        SigningKey.objects.filter(name=name).delete()
