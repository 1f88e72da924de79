"""Which hashes of other programs are imported, and how they are stored.

The file that contains a hash determines how much work it is, and may be malicious: the work of a login is bounded.
"""

import re

from users.passwords import scheme

_BASE64, _SALT = "[A-Za-z0-9+/]", "[!-#%-~]{1,64}"
# As Django stores them. The digits bound the work; the length is that of the column.
_STORED = re.compile(
    rf"""(?=.{{1,128}}$)(
    bcrypt(_sha256)?\$\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{{53}}
    | argon2\$argon2id\$v=19\$m=[1-9]\d{{0,5}},t=[1-9]\d?,p=[1-9]\${_BASE64}{{11,86}}\${_BASE64}{{16,86}}
    | pbkdf2_sha256\$[1-9]\d{{0,6}}\${_SALT}\${_BASE64}{{43}}=
    | scrypt\$[1-9]\d{{0,4}}\${_SALT}\$[1-8]\$[1-5]\${_BASE64}{{86}}==
    )""",
    re.ASCII | re.VERBOSE,
)


def imported(encoded: str) -> str:
    """Return another program's hash as it is stored here; raise `ValueError` with what is expected instead.

    Accepted: bcrypt (`$2a$`, `$2b$`, `$2y$`) and Argon2id (`$argon2id$v=19$`), also with the name that Django puts
    before them, and Django's own PBKDF2, scrypt and bcrypt of SHA-256. `!` is a user without a password.
    """
    if encoded.startswith("!"):
        return "!"
    prefix = "bcrypt$" if encoded.startswith("$2") else "argon2" if encoded.startswith("$argon2") else ""
    if not _STORED.fullmatch(prefix + encoded):
        raise ValueError(
            "expected a bcrypt ($2b$…) or Argon2id ($argon2id$v=19$…) hash, or one of Django's (pbkdf2_sha256$…, "
            f"scrypt$…, argon2$…, bcrypt_sha256$…), of bounded work; got {scheme(encoded)}"
        )
    return prefix + encoded
