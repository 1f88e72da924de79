"""Passwords: how they are hashed, checked and validated, and how many at once.

    Unavailable (503)
    └── Busy                too many passwords are being checked; the same request may succeed in a moment

New hashes are Argon2id with the parameters of the settings. A hash of another program, or of other parameters, is
replaced at the first login.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from threading import BoundedSemaphore

import bcrypt
from django.conf import settings
from django.contrib.auth.hashers import (
    Argon2PasswordHasher,
    BCryptPasswordHasher,
    PBKDF2PasswordHasher,
    ScryptPasswordHasher,
    make_password,
    verify_password,
)
from rest_framework.exceptions import ValidationError

from chassis.problems import Unavailable

from .models import User

log = logging.getLogger(__name__)

MAX_LENGTH = 128
# Seconds that a hash waits for its turn: well within the time a gateway gives a login.
HASH_WAIT = 5.0
# bcrypt uses no more of a password. passlib, as most programs, truncates it silently; this library rejects it.
BCRYPT_BYTES = 72
# Seconds between two searches for the kinds of imported hashes, which read all users.
_IMPORTED_HASHES_SECONDS = 10

# Each hash fills its memory and a core; more at once would only be slower, and take more memory.
hashing = BoundedSemaphore(os.cpu_count() or 1)


class Busy(Unavailable):
    """Too many passwords are being checked at once. DRF sends `wait`, in seconds, as Retry-After."""

    default_detail = "Too many passwords are being checked at the moment. Try again."
    wait = 1


@contextmanager
def turn() -> Iterator[None]:
    """Hold one of the turns at hashing; raise `Busy` if none is free for `HASH_WAIT` seconds."""
    if not hashing.acquire(timeout=HASH_WAIT):
        raise Busy
    try:
        yield
    finally:
        hashing.release()


def make(password: str) -> str:
    """Return a new hash of the password. Raises `Busy`."""
    if len(password) > MAX_LENGTH:
        raise ValidationError({"password": [f"Use at most {MAX_LENGTH} characters."]})
    with turn():
        return make_password(password)


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id with the parameters of the settings."""

    memory_cost = property(lambda _: settings.ARGON2["memory_kib"])
    time_cost = property(lambda _: settings.ARGON2["time"])
    parallelism = 1


class ImportedBcryptHasher(BCryptPasswordHasher):
    """bcrypt as passlib and others store it."""

    def encode(self, password: str, salt: str | bytes) -> str:
        data = bcrypt.hashpw(password.encode()[:BCRYPT_BYTES], salt.encode() if isinstance(salt, str) else salt)
        return f"{self.algorithm}${data.decode('ascii')}"


class ImportedScryptHasher(ScryptPasswordHasher):
    """scrypt as Django stores it."""

    # Bytes: more than any hash that is imported needs. OpenSSL's own bound is lower.
    maxmem = 512 * 1024 * 1024


def check(user: User | None, password: str) -> tuple[bool, bool]:
    """Return whether the password is the user's, and whether its hash should be replaced. Raises `Busy`.

    Without a user, or if the stored hash cannot be checked, it takes the time of one hash all the same.
    """
    found = _verified(password, user.password) if user else None
    if user and not found:
        log.error("The hash of user %d cannot be checked: it is %s", user.pk, scheme(user.password))
    return found or _verified(password, "!") or (False, False)


def spend_time_of_others(encoded: str) -> None:
    """Make a hash of each kind that is stored, after a login with that one failed, while there are imported hashes.

    Those take another time than Argon2id, and the time must not reveal which users were imported.
    """
    own = _kind(encoded)
    for other in imported_hashes(int(time.monotonic() / _IMPORTED_HASHES_SECONDS)):
        if _kind(other) != own:
            _verified("", other)
        elif _iterations(encoded) < _iterations(other):
            # Django raises its iterations with each version: users of one program may differ in them.
            with turn():
                PBKDF2PasswordHasher().encode("", "x", _iterations(other) - _iterations(encoded))
    if own not in {"argon2", "!"}:
        make("")


@lru_cache(maxsize=1)
def imported_hashes(period: int) -> list[str]:
    """Return one hash of each stored kind but Argon2id, of PBKDF2 the one of most iterations; read once a period."""
    others = User.objects.exclude(password__startswith="argon2$").exclude(password__startswith="!")
    found: dict[str, str] = {}
    for encoded in others.values_list("password", flat=True).iterator():
        kind = _kind(encoded)
        if kind not in found or _iterations(encoded) > _iterations(found[kind]):
            found[kind] = encoded
    return list(found.values())


def _verified(password: str, encoded: str) -> tuple[bool, bool] | None:
    """Return what Django's `verify_password` does, None for a hash that cannot be checked. Raises `Busy`."""
    with turn(), suppress(Exception):  # the libraries' own, of many kinds: a file may contain anything
        return verify_password(password, encoded)
    return None


def _kind(encoded: str) -> str:
    return "!" if encoded.startswith("!") else encoded.partition("$")[0]


def _iterations(encoded: str) -> int:
    match = re.match(r"pbkdf2_sha256\$(\d{1,9})\$", encoded, re.ASCII)
    return int(match[1]) if match else 0


def scheme(encoded: str) -> str:
    """Return the kind of a stored hash for a message, and nothing else of the hash."""
    match = re.match(r"\$?([a-z0-9_-]{1,20})\$", encoded, re.ASCII)
    return f"one of the kind {match[1]}" if match else "none" if not encoded else "no hash of a known form"
