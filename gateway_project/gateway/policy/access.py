"""Who is asking, and whether the route lets them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .rejections import Forbidden, InvalidToken, Unauthenticated

# RFC 6750, section 2.1; schemes are case-insensitive (RFC 9110, section 11.1).
BEARER = re.compile(r"bearer +(?P<token>[A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
SCHEME = re.compile(r"[^ \t,]*")


@dataclass(frozen=True, slots=True)
class Identity:
    """The signed-in user."""

    user_id: str
    username: str
    role: str
    session: str


def bearer(value: str) -> str | None:
    """Return the token of an `Authorization: Bearer`, `None` for another scheme; raise `InvalidToken` if malformed.

    `value` is the header's, a repeated one's joined with commas, which no token holds.
    """
    value = value.strip(" \t")
    scheme = SCHEME.match(value)
    if scheme is None or scheme[0].lower() != "bearer":
        return None
    found = BEARER.fullmatch(value)
    if found is None:
        raise InvalidToken("The Authorization header is malformed. Send `Authorization: Bearer <token>`.")
    return found["token"]


def check(allow: str | Sequence[str], identity: Identity | None) -> None:
    """Raise `Unauthenticated` or `Forbidden` unless the route's `allow` includes the identity."""
    if allow == "public":
        return
    if identity is None:
        raise Unauthenticated
    if allow == "authenticated":
        return
    if isinstance(allow, str) or identity.role not in allow:
        roles = allow if isinstance(allow, str) else " or ".join(allow)
        rejected = Forbidden(f"This is for the role {roles}; yours is {identity.role}.")
        rejected.identity = identity
        raise rejected
