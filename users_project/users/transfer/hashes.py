"""Which hashes of other programs are imported, and how they are stored.

The file that contains a hash determines how much work it is, and may be malicious: the work of a login is bounded.
"""

import re

from users.passwords import scheme

_NUMBER, _BASE64, _SALT = r"[1-9]\d{0,9}", r"[A-Za-z0-9+/]", r"[!-#%-~]{1,64}"
# As Django stores them. Each named number has its limits below.
_STORED = re.compile(
    rf"""
    bcrypt(_sha256)?\$\$2[aby]\$(?P<bcrypt_cost>\d\d)\$[./A-Za-z0-9]{{53}}
    | argon2\$argon2id\$v=19
      \$m=(?P<argon2_memory>{_NUMBER}),t=(?P<argon2_passes>{_NUMBER}),p=(?P<argon2_lanes>{_NUMBER})
      \${_BASE64}{{11,86}}\${_BASE64}{{16,86}}
    | pbkdf2_sha256\$(?P<pbkdf2_iterations>{_NUMBER})\${_SALT}\${_BASE64}{{43}}=
    | scrypt\$(?P<scrypt_n>{_NUMBER})\${_SALT}\$(?P<scrypt_r>{_NUMBER})\$(?P<scrypt_p>{_NUMBER})\${_BASE64}{{86}}==
    """,
    re.ASCII | re.VERBOSE,
)
_LIMITS = {
    "bcrypt_cost": (4, 15),
    "argon2_memory": (8, 256 * 1024),  # KiB
    "argon2_passes": (1, 20),
    "argon2_lanes": (1, 16),
    "pbkdf2_iterations": (1, 5_000_000),
    "scrypt_n": (2, 2**16),
    "scrypt_r": (1, 8),
    "scrypt_p": (1, 5),
}
# Characters of the column, which is Django's.
_MAX_ENCODED = 128


def imported(encoded: str) -> str:
    """Return another program's hash as it is stored here; raise `ValueError` with what is expected instead.

    Accepted: bcrypt (`$2a$`, `$2b$`, `$2y$`) and Argon2id (`$argon2id$v=19$`), also with the name that Django puts
    before them, and Django's own PBKDF2, scrypt and bcrypt of SHA-256. `!` is a user without a password.
    """
    if encoded.startswith("!"):
        return "!"
    prefix = "bcrypt$" if encoded.startswith("$2") else "argon2" if encoded.startswith("$argon2") else ""
    stored = prefix + encoded
    match = _STORED.fullmatch(stored)
    if match is None:
        raise ValueError(
            "expected a bcrypt ($2b$…) or Argon2id ($argon2id$v=19$…) hash, or one of Django's (pbkdf2_sha256$…, "
            f"scrypt$…, argon2$…, bcrypt_sha256$…), got {scheme(encoded)}"
        )
    for name, number in match.groupdict().items():
        least, most = _LIMITS[name]
        if number and not least <= int(number) <= most:
            raise ValueError(f"expected {name.replace('_', ' ')} from {least} to {most}, got {int(number)}")
    if len(stored) > _MAX_ENCODED:
        raise ValueError(f"expected at most {_MAX_ENCODED} characters")
    return stored
