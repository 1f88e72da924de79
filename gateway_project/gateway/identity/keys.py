"""The gateway's signing keys: P-256, one PEM each.

Key rotation. Every token names its key in `kid`, the key's JWK thumbprint (RFC 7638), so several keys
are valid at once. A new key is published at once (RFC 7517, section 5), but signs only after
`KEY_LEAD_TIME`: until then all caches of the published keys have it. The older keys then verify until
the last token that they signed has expired, and are removed. Both moments are stored with the key, so
a rotation is one new key, which appears atomically. Keys never change: the names tell the workers
whether there is a new one, and each looks once a second. After a theft all keys are replaced at once
and all sessions end.
"""

import base64
import hashlib
import json
import logging
import math
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import DatabaseError, close_old_connections, connection

from .key_storage import KeyStorage

# Seconds between two looks of a process at whether there are other keys now.
INTERVAL = 1.0
# Seconds for which a cache may keep the public keys (RFC 9111, section 5.2.2.1).
MAX_AGE = 60
PUBLIC_HEADERS = {"Cache-Control": f"public, max-age={MAX_AGE}"}
# Seconds that an earlier key verifies for longer than what it signed lives: clocks differ.
MARGIN = 60
# A service takes 64 KiB of public keys at the most.
MAX_KEYS = 32

log = logging.getLogger(__name__)


def base64url(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


@dataclass(frozen=True)
class Key:
    """A key pair, its name, when it begins to sign, and until when the keys before it verify (Unix seconds)."""

    kid: str
    # Compares by identity; `kid` tells keys apart.
    private: ec.EllipticCurvePrivateKey = field(compare=False)
    signs_from: float = 0.0
    earlier_until: float = math.inf

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey) -> "Key":
        """Return the pair named by its thumbprint (RFC 7638, section 3)."""
        numbers = private.public_key().public_numbers()
        members = {"crv": "P-256", "kty": "EC", "x": base64url(numbers.x), "y": base64url(numbers.y)}
        digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
        return cls(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), private)

    def jwk(self) -> dict[str, str]:
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


class KeyRing:
    """Keys; the one that signs last comes first."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self.keys = tuple(sorted(keys, key=lambda key: (key.signs_from, key.kid), reverse=True))
        # By kid: the public key, and until when it verifies.
        self.public: dict[object, tuple[ec.EllipticCurvePublicKey, float]] = {}
        until = math.inf
        for key in self.keys:
            self.public[key.kid] = (key.private.public_key(), until)
            until = min(until, key.earlier_until)

    @property
    def signing(self) -> Key:
        now = time.time()
        return next((key for key in self.keys if key.signs_from <= now), self.keys[-1])

    def verifying(self, kid: object) -> ec.EllipticCurvePublicKey | None:
        public, until = self.public.get(kid, (None, 0.0)) if isinstance(kid, str) else (None, 0.0)
        return public if time.time() < until else None

    def expired(self) -> list[Key]:
        """Return the keys that verify nothing any more."""
        now = time.time()
        return [key for key in self.keys if self.public[key.kid][1] <= now]

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        expired = self.expired()
        return {"keys": [key.jwk() for key in self.keys if key not in expired]}


def key_create(storage: KeyStorage, *, signs_from: float = 0.0, earlier_until: float = math.inf) -> Key:
    """Make a key and store it before it is used. The caller holds the lock."""
    made = Key.of(ec.generate_private_key(ec.SECP256R1()))
    key = replace(made, signs_from=signs_from, earlier_until=earlier_until)
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    moments = {"signs-from": signs_from, "earlier-until": earlier_until}
    header = [f"{name}: {format_time(at)}\n" for name, at in moments.items() if 0 < at < math.inf]
    storage.add(key.kid, "".join(header).encode() + pem)
    return key


def format_time(at: float) -> str:
    """Return the time for people (RFC 3339)."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def key_load(storage: KeyStorage, name: str) -> Key:
    """Read a key; raise `ValueError` with its name if it is not a key, or others may read it."""
    content = storage.read(name)
    path = storage.place(name)
    try:
        private = serialization.load_pem_private_key(content, password=None)
    except ValueError as exc:
        raise ValueError(f"{path}: not a PEM private key without a password. Remove it.") from exc
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise ValueError(f"{path}: the key is not on the curve P-256. Remove it.")
    try:
        entries = dict(line.split(": ", 1) for line in content.decode().partition("-----BEGIN")[0].splitlines())
        moments = {name: datetime.fromisoformat(at).timestamp() for name, at in entries.items()}
    except ValueError as exc:
        raise ValueError(f"{path}: invalid lines above the key. Keep signs-from and earlier-until.") from exc
    return replace(
        Key.of(private), signs_from=moments.get("signs-from", 0.0), earlier_until=moments.get("earlier-until", math.inf)
    )


def read(storage: KeyStorage) -> KeyRing:
    """Return the keys; raise `ValueError` for an invalid one, or without any."""
    found = tuple(key_load(storage, name) for name in storage.names())
    if not found:
        raise ValueError(f"{storage}: there are no keys. {storage.remedy}")
    return KeyRing(found)


def load(storage: KeyStorage) -> KeyRing:
    """Return the keys; make the first one if there is none, and remove those that expired."""
    if storage.read_only:
        return read(storage)
    with storage.lock():
        if not storage.names():
            key_create(storage)
        ring = read(storage)
        expired = ring.expired()
        for key in expired:
            storage.remove(key.kid)
        return read(storage) if expired else ring


def rotate(storage: KeyStorage, *, lead: float, longest: float) -> tuple[Key, bool]:
    """Return the key that is to sign next, and whether it is made now: while one waits to sign, there is no other.

    It signs in `lead` seconds; the keys before it verify for as long again as the longest-lived token (`longest`,
    seconds) that they sign until then. Raise `ValueError` where there are too many keys.
    """
    load(storage)
    with storage.lock():
        ring = read(storage)
        now = time.time()
        if ring.keys[0].signs_from > now:
            return ring.keys[0], False
        if len(ring.keys) >= MAX_KEYS:
            raise ValueError(f"{MAX_KEYS} keys still verify, which is the limit. Rotate less often.")
        signs_from = math.ceil(now + lead)
        return key_create(storage, signs_from=signs_from, earlier_until=signs_from + longest + MARGIN), True


def replace_stolen(storage: KeyStorage) -> Key:
    """Return a new key that signs immediately; remove all others, which verify nothing any more."""
    with storage.lock():
        others = storage.names()
        # Alone it ends those before it, should this be broken off here; what waits to sign has to be removed.
        now = time.time()
        key = key_create(storage, signs_from=now, earlier_until=now)
        for name in others:
            storage.remove(name)
        return key


class Keys:
    """The process's keys, read again once a second if they have changed.

    From files as they are used: a look costs a system call. From the database by a thread of their own, so that no
    request waits for it.
    """

    def __init__(self, storage: KeyStorage) -> None:
        self.storage = storage
        storage.wait()
        self.ring = load(storage)
        self.names = storage.names()
        self.fault = ""
        self.due = math.inf
        self.stopped = threading.Event()
        self.thread: threading.Thread | None = None
        if storage.is_local:
            self.due = time.monotonic() + INTERVAL
        else:
            self.thread = threading.Thread(target=self.follow, name="keys", daemon=True)
            self.thread.start()

    def current(self) -> KeyRing:
        """Return the keys; the same object while the keys are the same."""
        now = time.monotonic()
        if now >= self.due:
            # First, so that no other thread reads them too.
            self.due = now + INTERVAL
            self.look()
        return self.ring

    def follow(self) -> None:
        """Look once a second, until the process or `stop` ends it."""
        while not self.stopped.wait(INTERVAL):
            close_old_connections()
            self.look()
        connection.close()

    def stop(self) -> None:
        self.stopped.set()
        if self.thread:
            self.thread.join()

    def look(self) -> None:
        """Read the keys again if they have changed; keep the known ones if they cannot be read."""
        try:
            found = self.storage.names()
            # Expired keys of a storage that is only read stay there; the same ring stays too, and all that it verified.
            if self.ring.expired() and not self.storage.read_only:
                self.ring = load(self.storage)
            elif found != self.names:
                self.ring = read(self.storage)
                self.names = found
            self.fault = ""
        except (OSError, ValueError, LookupError, DatabaseError) as exc:
            if str(exc) != self.fault:
                log.error("The keys cannot be read again: %s", exc)  # noqa: TRY400  # the message says it all
            self.fault = str(exc)
