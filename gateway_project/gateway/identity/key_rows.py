"""The signing keys in the gateway's database."""

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.db import connection, transaction

from chassis.databases import wait_for

from .models import SigningKey

log = logging.getLogger(__name__)

# Of PostgreSQL's advisory locks, which are numbers; "keys" in ASCII.
LOCK: Final = int.from_bytes(b"keys")


class KeyRows:
    """The gateway's database, so that all replicas have the same keys. A copy of it without the secret has none."""

    read_only = False
    is_local = False
    remedy = "Restart the gateway to make one."

    def __init__(self, secret: str) -> None:
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"gatehouse signing keys").derive(secret.encode())
        self.cipher = Fernet(base64.urlsafe_b64encode(derived))

    def __str__(self) -> str:
        return "the database"

    def wait(self) -> None:
        wait_for(connection, log.warning)

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
