"""Passwords: how they are hashed, and how many hashes are made at once."""

import os
from threading import BoundedSemaphore

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.exceptions import ValidationError

from .models import User

MAX_LENGTH = 128

# Each hash fills its memory and a core; more at once would only be slower, and take more memory.
hashing = BoundedSemaphore(os.cpu_count() or 1)


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id with the parameters of the settings; hashes made with others are made again at the next login."""

    @property
    def memory_cost(self) -> int:  # type: ignore[override]  # an attribute of the class there
        """KiB."""
        return settings.ARGON2["memory_kib"]

    @property
    def time_cost(self) -> int:  # type: ignore[override]
        """Passes."""
        return settings.ARGON2["time"]

    @property
    def parallelism(self) -> int:  # type: ignore[override]
        """Lanes."""
        return settings.ARGON2["parallelism"]

    def encode(self, password: str, salt: str) -> str:
        """Return the hash, when it is its turn."""
        with hashing:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether the hash is the password's, when it is its turn."""
        with hashing:
            return super().verify(password, encoded)


class MaximumLengthValidator:
    """Refuses what no client may send as a password."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Raise Django's `ValidationError`."""
        if len(password) > MAX_LENGTH:
            raise ValidationError(self.get_help_text(), code="password_too_long")

    def get_help_text(self) -> str:
        """Return the rule."""
        return f"Expected at most {MAX_LENGTH} characters."
