"""Which hashes of other programs are imported, and how they are stored.

The file that contains a hash says how much work it is, and may have been made to harm: the work of a login is bounded.
"""

import re

from django.conf import settings

from users.passwords import scheme

_MAX_BCRYPT_COST = 15
_MAX_MEMORY_KIB = 256 * 1024
_MAX_PASSES = 20
_MAX_LANES = 16
_MAX_ITERATIONS = 5_000_000
# Work factor, block size and parallelism multiplied; Django's own are 2^14 * 8 * 5.
_MAX_SCRYPT_WORK = 2**21
_MAX_SCRYPT_PARALLELISM = 16
# Characters of the column, which is Django's.
_MAX_ENCODED = 128

_NUMBER, _BASE64 = r"([1-9]\d{0,9})", r"[A-Za-z0-9+/]"
_BCRYPT = re.compile(r"(bcrypt\$|bcrypt_sha256\$)?(\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53})", re.ASCII)
_ARGON2ID = re.compile(
    rf"(?:argon2)?(\$argon2id\$v=19\$m={_NUMBER},t={_NUMBER},p={_NUMBER}\${_BASE64}{{11,86}}\${_BASE64}{{16,86}})",
    re.ASCII,
)
# As Django stores them: iterations, salt, 32 bytes; work factor, salt, block size, parallelism, 64 bytes.
_PBKDF2 = re.compile(rf"pbkdf2_sha256\${_NUMBER}\$[!-#%-~]{{1,64}}\${_BASE64}{{43}}=", re.ASCII)
_SCRYPT = re.compile(rf"scrypt\${_NUMBER}\$[!-#%-~]{{1,64}}\${_NUMBER}\${_NUMBER}\${_BASE64}{{86}}==", re.ASCII)


def imported(encoded: str) -> str:
    """Return another program's hash as it is stored here; raise `ValueError` with what is expected instead.

    Accepted: bcrypt (`$2a$`, `$2b$`, `$2y$`) and Argon2id (`$argon2id$v=19$`), also with the name that Django puts
    before them, and Django's own PBKDF2, scrypt and bcrypt of SHA-256. `!` is a user without a password.
    """
    if encoded.startswith("!"):
        return "!"
    stored = _bcrypt(encoded) or _argon2id(encoded) or _pbkdf2(encoded) or _scrypt(encoded)
    if stored is None:
        raise ValueError(
            "expected a bcrypt ($2b$…) or Argon2id ($argon2id$v=19$…) hash, or one of Django's (pbkdf2_sha256$…, "
            f"scrypt$…, argon2$…, bcrypt_sha256$…), got {scheme(encoded)}"
        )
    if len(stored) > _MAX_ENCODED:
        raise ValueError(f"expected at most {_MAX_ENCODED} characters")
    return stored


def _bcrypt(encoded: str) -> str | None:
    match = _BCRYPT.fullmatch(encoded)
    if match is None:
        return None
    if not 4 <= int(match[3]) <= _MAX_BCRYPT_COST:
        raise ValueError(f"expected a bcrypt cost from 4 to {_MAX_BCRYPT_COST}, got {int(match[3])}")
    return (match[1] or "bcrypt$") + match[2]


def _argon2id(encoded: str) -> str | None:
    match = _ARGON2ID.fullmatch(encoded)
    if match is None:
        return None
    memory, passes, lanes = map(int, match.groups()[1:])
    own = settings.ARGON2
    if memory > max(_MAX_MEMORY_KIB, own["memory_kib"]) or passes > max(_MAX_PASSES, own["time"]):
        raise ValueError(f"expected Argon2id of at most {_MAX_MEMORY_KIB} KiB and {_MAX_PASSES} passes")
    if lanes > max(_MAX_LANES, own["parallelism"]) or memory < 8 * lanes:
        raise ValueError(f"expected Argon2id of at most {_MAX_LANES} lanes, each of at least 8 KiB")
    return f"argon2{match[1]}"


def _pbkdf2(encoded: str) -> str | None:
    match = _PBKDF2.fullmatch(encoded)
    if match and int(match[1]) > _MAX_ITERATIONS:
        raise ValueError(f"expected PBKDF2 of at most {_MAX_ITERATIONS} iterations, got {int(match[1])}")
    return encoded if match else None


def _scrypt(encoded: str) -> str | None:
    match = _SCRYPT.fullmatch(encoded)
    if match is None:
        return None
    work, block, parallelism = map(int, match.groups())
    if work * block * parallelism > _MAX_SCRYPT_WORK or parallelism > _MAX_SCRYPT_PARALLELISM:
        raise ValueError(
            f"expected scrypt of n * r * p up to {_MAX_SCRYPT_WORK}, and p up to {_MAX_SCRYPT_PARALLELISM}"
        )
    return encoded
