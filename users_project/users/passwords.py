"""Passwords: how they are hashed, which hashes of other programs are taken over, and how many are made at once.

    Unavailable (503)
    └── Busy                too many passwords are being checked; the same request may succeed in a moment
    ValueError
    └── UncheckableError    the stored hash is none that a password can be compared with

Hashes of other programs become Argon2id at the first login.
"""

import binascii
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

import bcrypt
from django.conf import settings
from django.contrib.auth.hashers import (
    Argon2PasswordHasher,
    BCryptPasswordHasher,
    BCryptSHA256PasswordHasher,
    PBKDF2PasswordHasher,
    ScryptPasswordHasher,
    verify_password,
)
from django.core.exceptions import ValidationError
from rest_framework.exceptions import APIException

from chassis.problems import Unavailable

from .models import User

MAX_LENGTH = 128
# Seconds that a hash waits for its turn: well within the time a gateway gives a login.
HASH_WAIT = 5.0
# bcrypt uses no more of a password; passlib, as most programs, cut the rest off unsaid, where this library refuses it.
BCRYPT_BYTES = 72

BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)
ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=([1-9]\d{0,9}),t=([1-9]\d{0,9}),p=([1-9]\d{0,9})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})",
    re.ASCII,
)
# As Django stores them: iterations, salt, 32 bytes; work factor, salt, block size, parallelism, 64 bytes.
PBKDF2 = re.compile(r"pbkdf2_sha256\$([1-9]\d{0,9})\$[!-#%-~]{1,64}\$([A-Za-z0-9+/]{43})=", re.ASCII)
SCRYPT = re.compile(
    r"scrypt\$([1-9]\d{0,9})\$[!-#%-~]{1,64}\$([1-9]\d{0,9})\$([1-9]\d{0,9})\$([A-Za-z0-9+/]{86})==", re.ASCII
)
# Characters of the column, which is Django's.
MAX_ENCODED = 128
# The digits of bcrypt's base 64. Of the last one of a salt, the 22nd, 2 bits count, of a digest's, the 31st, 4 bits.
BCRYPT_DIGITS = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SALT_END = len("$2b$12$") + 21
# What one login may cost: the file that brought the hash says how much work it is, and may have been made to harm.
MAX_BCRYPT_COST = 15
MAX_MEMORY_KIB = 256 * 1024
MAX_PASSES = 20
MAX_LANES = 16
MAX_ITERATIONS = 5_000_000
# Work factor, block size and parallelism multiplied; Django's own are 2^14 * 8 * 5.
MAX_SCRYPT_WORK = 2**21
MAX_SCRYPT_PARALLELISM = 16

# Each hash fills its memory and a core; more at once would only be slower, and take more memory.
hashing = BoundedSemaphore(os.cpu_count() or 1)


class Busy(Unavailable):
    """Too many passwords are being checked at once. DRF says `wait`, in seconds, in Retry-After."""

    default_detail = "Too many passwords are being checked at the moment. Try again."
    wait = 1


class UncheckableError(ValueError):
    """The stored hash is none that a password can be compared with; says why, without the hash."""


@contextmanager
def turn() -> Iterator[None]:
    """Hold one of the turns at hashing; raise `Busy` where none is free for `HASH_WAIT` seconds."""
    if not hashing.acquire(timeout=HASH_WAIT):
        raise Busy
    try:
        yield
    finally:
        hashing.release()


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
        with turn():
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether the hash is the password's, when it is its turn."""
        with turn():
            return super().verify(password, encoded)


class ImportedBcryptHasher(BCryptPasswordHasher):
    """bcrypt as passlib and others store it, for users who were imported; made Argon2id at their first login."""

    def encode(self, password: str, salt: str | bytes) -> str:
        """Return the hash, when it is its turn; `verify` compares with it."""
        with turn():
            data = bcrypt.hashpw(password.encode()[:BCRYPT_BYTES], salt.encode() if isinstance(salt, str) else salt)
        return f"{self.algorithm}${data.decode('ascii')}"

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether the hash is the password's, when it is its turn."""
        return super().verify(password, canonical(encoded))


class ImportedBcryptSHA256Hasher(BCryptSHA256PasswordHasher):
    """bcrypt of the password's SHA-256, as Django stores it, for users who were imported."""

    def encode(self, password: str, salt: str | bytes) -> str:
        """Return the hash, when it is its turn; `verify` compares with it."""
        with turn():
            return super().encode(password, salt)  # type: ignore[arg-type]  # bytes, as `verify` has them there


class ImportedPBKDF2Hasher(PBKDF2PasswordHasher):
    """PBKDF2 with SHA-256, Django's default, for users who were imported."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Return the hash, when it is its turn; `verify` compares with it."""
        with turn():
            return super().encode(password, salt, iterations)


class ImportedScryptHasher(ScryptPasswordHasher):
    """scrypt as Django stores it, for users who were imported."""

    # Bytes; more than what `MAX_SCRYPT_WORK` takes, where OpenSSL's own bound is below some of what is taken over.
    maxmem = 512 * 1024 * 1024

    def encode(self, password: str, salt: str, n: int | None = None, r: int | None = None, p: int | None = None) -> str:
        """Return the hash, when it is its turn; `verify` compares with it."""
        with turn():
            return super().encode(password, salt, n, r, p)


def is_checkable(encoded: str) -> bool:
    """Return whether that is a stored hash of another kind than Argon2id that a password can be compared with."""
    if match := BCRYPT.fullmatch(encoded.removeprefix("bcrypt$").removeprefix("bcrypt_sha256$")):
        return 4 <= int(match[1]) <= 31
    try:
        return bool(of_pbkdf2(encoded) or of_scrypt(encoded))
    except ValueError:
        return False


def kind(encoded: str) -> str:
    """Return the name of a stored hash's algorithm."""
    return encoded.partition("$")[0]


def iterations(encoded: str) -> int:
    """Return the iterations of a stored hash of PBKDF2, 0 of any other."""
    match = PBKDF2.fullmatch(encoded)
    return int(match[1]) if match else 0


def spend_iterations(count: int) -> None:
    """Take the time of so many iterations of PBKDF2."""
    ImportedPBKDF2Hasher().encode("", "x", count)


def canonical(encoded: str) -> str:
    """Return a hash of bcrypt without the bits that nothing reads: old versions of passlib stored any there.

    The library refuses a salt that has some, and makes a digest that has none.
    """
    bare = encoded.removeprefix("bcrypt$")
    if not BCRYPT.fullmatch(bare):
        return encoded
    digits = list(encoded)
    for place, read in ((len(encoded) - len(bare) + SALT_END, 0b110000), (-1, 0b111100)):
        digits[place] = BCRYPT_DIGITS[BCRYPT_DIGITS.index(digits[place]) & read]
    return "".join(digits)


def verified(password: str, encoded: str) -> tuple[bool, bool]:
    """Return whether the hash is the password's, and whether it is to be made again.

    Raises `Busy`, and `UncheckableError` where the hash cannot be: a file edited by hand may hold anything.
    """
    try:
        return verify_password(password, encoded)
    except APIException:
        raise
    except Exception as exc:  # the libraries' own, of which there are many kinds
        raise UncheckableError(f"{type(exc).__name__} of {scheme(encoded)}") from exc


def imported(encoded: str) -> str:
    """Return another program's hash as it is stored here; raise `ValueError` that says what is expected instead.

    Taken: bcrypt (`$2a$`, `$2b$`, `$2y$`) and Argon2id (`$argon2id$v=19$`), also with the name that Django puts before
    them, and Django's own PBKDF2, scrypt and bcrypt of SHA-256, within what a login may cost. `!` and what follows is a
    user without a password.
    """
    if encoded.startswith("!"):
        return "!"
    for of_kind in (of_bcrypt, of_argon2id, of_pbkdf2, of_scrypt):
        if stored := of_kind(encoded):
            if len(stored) > MAX_ENCODED:
                raise ValueError(f"expected at most {MAX_ENCODED} characters")
            return stored
    raise ValueError(
        "expected a bcrypt ($2b$…) or Argon2id ($argon2id$v=19$…) hash, or one of Django's (pbkdf2_sha256$…, scrypt$…, "
        f"argon2$…, bcrypt_sha256$…), got {scheme(encoded)}"
    )


def of_bcrypt(encoded: str) -> str | None:
    """Return a hash of bcrypt as it is stored here; raise `ValueError`; `None` for another kind."""
    name = "bcrypt_sha256$" if encoded.startswith("bcrypt_sha256$") else "bcrypt$"
    bare = encoded.removeprefix(name)
    match = BCRYPT.fullmatch(bare)
    if match is None:
        return None
    if not 4 <= int(match[1]) <= MAX_BCRYPT_COST:
        raise ValueError(f"expected a bcrypt cost from 4 to {MAX_BCRYPT_COST}, got {int(match[1])}")
    return name + canonical(bare)


def of_argon2id(encoded: str) -> str | None:
    """Return a hash of Argon2id, likewise."""
    bare = encoded.removeprefix("argon2")
    match = ARGON2ID.fullmatch(bare)
    if match is None:
        return None
    memory, passes, lanes = (int(number) for number in match.groups()[:3])
    own = settings.ARGON2
    if memory > max(MAX_MEMORY_KIB, own["memory_kib"]) or passes > max(MAX_PASSES, own["time"]):
        raise ValueError(f"expected Argon2id of at most {MAX_MEMORY_KIB} KiB and {MAX_PASSES} passes")
    if lanes > max(MAX_LANES, own["parallelism"]) or memory < 8 * lanes:
        raise ValueError(f"expected Argon2id of at most {MAX_LANES} lanes, each of at least 8 KiB")
    check_base64(*match.groups()[3:])
    return f"argon2{bare}"


def of_pbkdf2(encoded: str) -> str | None:
    """Return a hash of PBKDF2, likewise."""
    match = PBKDF2.fullmatch(encoded)
    if match is None:
        return None
    if int(match[1]) > MAX_ITERATIONS:
        raise ValueError(f"expected PBKDF2 of at most {MAX_ITERATIONS} iterations, got {int(match[1])}")
    check_base64(match[2])
    return encoded


def of_scrypt(encoded: str) -> str | None:
    """Return a hash of scrypt, likewise."""
    match = SCRYPT.fullmatch(encoded)
    if match is None:
        return None
    work, block, parallelism = (int(number) for number in match.groups()[:3])
    if work * block * parallelism > MAX_SCRYPT_WORK or parallelism > MAX_SCRYPT_PARALLELISM:
        raise ValueError(f"expected scrypt of n * r * p up to {MAX_SCRYPT_WORK}, and p up to {MAX_SCRYPT_PARALLELISM}")
    # RFC 7914, section 2.
    if work < 2 or work & (work - 1) or work.bit_length() > 16 * block:
        raise ValueError("expected a work factor of scrypt that is a power of 2 and below 2^(16 * r)")
    check_base64(match[4])
    return encoded


def check_base64(*texts: str) -> None:
    """Raise `ValueError` where one of the texts is no base 64."""
    if not all(is_base64(text) for text in texts):
        raise ValueError("expected a salt and a digest in base 64, without padding and without stray bits")


def is_base64(text: str) -> bool:
    """Return whether that is how bytes are written in base 64 (RFC 4648, section 3.5), without padding."""
    try:
        data = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False
    return b64encode(data).decode().rstrip("=") == text


def scheme(encoded: str) -> str:
    """Return what kind of hash that may be, and nothing else of it: it is somebody's."""
    match = re.match(r"\$?([a-z0-9_-]{1,20})\$", encoded, re.ASCII)
    return f"one of the kind {match[1]}" if match else "none" if not encoded else "no hash of a known form"


class BlankValidator:
    """Refuses what is typed by leaning on a key, and seen by nobody."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Raise Django's `ValidationError`."""
        if not password.strip():
            raise ValidationError("This password is entirely blank.", code="password_entirely_blank")

    def get_help_text(self) -> str:
        """Return the rule."""
        return "Your password can’t be entirely blank."


class MaximumLengthValidator:
    """Refuses what no client may send as a password."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Raise Django's `ValidationError`."""
        if len(password) > MAX_LENGTH:
            raise ValidationError(self.get_help_text(), code="password_too_long")

    def get_help_text(self) -> str:
        """Return the rule."""
        return f"Expected at most {MAX_LENGTH} characters."
