"""The gateway's signing keys: P-256, one PEM file each, readable by their owner alone.

`kid` is the key's JWK thumbprint (RFC 7638); the newest key signs, all of them verify.
"""

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings


def base64url(number: int) -> str:
    """Return a P-256 coordinate as JWK has it (RFC 7518, section 6.2.1.2)."""
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


@dataclass(frozen=True)
class Key:
    """A key pair and its name."""

    kid: str
    private: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey) -> "Key":
        """Return the pair named by its thumbprint (RFC 7638, section 3)."""
        numbers = private.public_key().public_numbers()
        members = {"crv": "P-256", "kty": "EC", "x": base64url(numbers.x), "y": base64url(numbers.y)}
        digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
        return cls(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), private)

    def jwk(self) -> dict[str, str]:
        """Return the public half (RFC 7517, section 4)."""
        numbers = self.private.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "kid": self.kid,
            "x": base64url(numbers.x),
            "y": base64url(numbers.y),
        }


@dataclass(frozen=True)
class KeyRing:
    """All keys, the newest first."""

    keys: tuple[Key, ...]

    @property
    def signing(self) -> Key:
        """The key that signs."""
        return self.keys[0]

    def verifying(self, kid: object) -> ec.EllipticCurvePublicKey | None:
        """Return the public key of that name, if it is one of ours."""
        return next((key.private.public_key() for key in self.keys if key.kid == kid), None)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the published set (RFC 7517, section 5)."""
        return {"keys": [key.jwk() for key in self.keys]}


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, so that of two processes that start at once only one makes a key."""
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def key_create(directory: Path) -> Key:
    """Make a key, on disk before it is used, in a file that only its owner may read."""
    key = Key.of(ec.generate_private_key(ec.SECP256R1()))
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    unfinished = directory / f".{key.kid}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(directory / f"{key.kid}.pem")
    return key


def key_load(path: Path) -> Key:
    """Read a key; raise `ValueError` that names a file which holds none, or which others may read."""
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path}: expected a key that only its owner can read (mode 0600)")
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as exc:
        raise ValueError(f"{path}: expected a PEM private key without a password") from exc
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise ValueError(f"{path}: expected a key on the curve P-256")
    return Key.of(private)


def load(directory: Path) -> KeyRing:
    """Return the directory's keys, made first where there are none yet."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(directory):
        paths = sorted(directory.glob("*.pem"), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
        return KeyRing(tuple(key_load(path) for path in paths) or (key_create(directory),))


@cache
def ring() -> KeyRing:
    """Return the process's keys, read at first use."""
    return load(settings.KEYS)
