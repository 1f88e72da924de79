"""The gateway's cookies, which make a browser's requests a person's.

The access token is in one cookie, the refresh token in another. Over https their names begin with `__Host-`, which no
other host, and nothing that was sent over plain http, can set (RFC 6265bis, section 4.1.3.2). Without it they would be
what anyone on the way could have set, so over https the others do not count.
"""

from collections.abc import Sequence
from typing import Final

ACCESS: Final = "gatehouse-access"
REFRESH: Final = "gatehouse-refresh"
HOST_PREFIX: Final = "__Host-"
# In lower case: some browsers compared prefixes so.
OWN: Final = frozenset(prefix + name for prefix in ("", HOST_PREFIX.lower()) for name in (ACCESS, REFRESH))

Headers = Sequence[tuple[str, str]]


def name_over(name: str, scheme: str) -> str:
    return HOST_PREFIX + name if scheme == "https" else name


def pairs(headers: Headers) -> list[tuple[str, str]]:
    """Return names and values of the cookies as they were sent (RFC 6265, section 5.4)."""
    pieces = [piece.strip(" \t") for key, value in headers if key.lower() == "cookie" for piece in value.split(";")]
    return [(name.strip(" \t"), value.strip(" \t")) for name, _, value in (piece.partition("=") for piece in pieces)]


def read(headers: Headers, name: str, scheme: str) -> str | None:
    """Return the value of a cookie of the gateway; `None` without one, or if several differ."""
    found = {value for key, value in pairs(headers) if key == name_over(name, scheme)}
    return found.pop() or None if len(found) == 1 else None


def is_own(name: str) -> bool:
    """Return whether a cookie is the gateway's, in any spelling that a browser could treat as its name."""
    return name.strip(" \t").lower() in OWN


def without_own(headers: Headers) -> list[tuple[str, str]]:
    kept = []
    for name, value in headers:
        if name.lower() == "cookie" and "gatehouse-" in value.lower():
            others = [piece.strip(" \t") for piece in value.split(";") if not is_own(piece.partition("=")[0])]
            if others:
                kept.append((name, "; ".join(others)))
        else:
            kept.append((name, value))
    return kept


def sets_own(set_cookie: str) -> bool:
    """Return whether the value of a service's `Set-Cookie` would set one of the gateway's cookies.

    One without a name (`=gatehouse-access=…`) is sent back as its value alone, which reads like one with that name.
    """
    return is_own(set_cookie.lstrip(" \t=").partition(";")[0].partition("=")[0])
