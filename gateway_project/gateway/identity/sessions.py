"""Writes on sessions: begin, refresh, end, purge.

Session epochs. The users service counts a `session_epoch` for each user. A change of password, role
or activity, and a deletion, raise it. A session stores the epoch in which it began, and ends when the
user's epoch is higher. A counter needs no clocks that agree: a login that runs at the same time as a
password change has the old epoch or the new one, never both. The account is read a second time after
the session is stored, for an end in between.

Refresh rotation. A session has one current refresh token, `refresh_jti`. A refresh replaces it in one
conditional UPDATE, so only one of several concurrent requests succeeds. A token that comes a second
time has two holders, and one of them has stolen it, so the session ends (RFC 9700, section 4.14.2).

Grace. A response with the next token may be lost, and the tabs of a browser refresh at the same
moment. So within the grace (10 s for a browser's cookie, `REFRESH_GRACE` for programs) a used token
returns its successor again, always the same one: the successor's `jti` is a keyed hash of the used
`jti` and the time. If a thief has the token too, both hold that successor, and the session ends when
the second of them uses it after the grace.
"""

import hashlib
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, cast
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError

from gateway.policy.access import Identity
from gateway.policy.rejections import InvalidToken, RequestRejected

from . import audit
from .audit import Event
from .credentials import Account, LoginClient
from .models import Session
from .purges import Purge
from .tokens import AccessToken, GatewayBackend, RefreshToken

log = logging.getLogger(__name__)

# Seconds in which a browser's refresh cookie that has just been rotated buys its successor again.
BROWSER_GRACE = 10
# Seconds between two purges by one worker; how long a session is kept after its tokens have expired.
PURGE_EVERY = 3600
MARGIN = timedelta(seconds=60)
REJECTED = "The refresh token is not valid: it has been used, or its session has ended. Sign in again."


@dataclass(frozen=True)
class TokenPair:
    """The response to a login or a refresh."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str


@dataclass(frozen=True)
class Client:
    """Where a session is used from, for its user to recognise it."""

    address: str
    user_agent: str

    def described(self) -> dict[str, str]:
        """Return the stored fields, with a bound on the user agent, which a client chooses."""
        agent = "".join(letter for letter in self.user_agent if letter.isprintable())
        return {"client_address": self.address[:45], "user_agent": agent[:200]}


def lifetime(name: str) -> timedelta:
    return cast("timedelta", cast("dict[str, Any]", settings.SIMPLE_JWT)[name])


def session_create(*, account: Account, client: Client) -> Session:
    return Session.objects.create(
        id=uuid4().hex,
        user_id=account.user_id,
        session_epoch=account.session_epoch,
        refresh_jti=uuid4().hex,
        expires_at=timezone.now() + lifetime("REFRESH_TOKEN_LIFETIME"),
        **client.described(),
    )


def session_reused(*, session: Session, client: Client) -> NoReturn:
    """End a session whose refresh token came a second time, and raise `InvalidToken`.

    One of its two holders has stolen it, and the gateway cannot know which (RFC 9700, section 4.14.2).
    """
    session_end(session_id=session.id)
    log.warning(
        "A refresh token was used again; session %s of user %s ended",
        session.id,
        session.user_id,
        extra={
            "event": "refresh_token_reused",
            "session": session.id,
            "user_id": session.user_id,
            "client_address": client.address,
            "last_client_address": session.client_address,
        },
    )
    audit.record(
        Event.REFRESH_TOKEN_REUSED,
        user_id=session.user_id,
        address=client.address,
        session=session.id,
        detail=f"last used from {session.client_address}",
    )
    raise InvalidToken(REJECTED)


def successor(jti: str, at: int) -> str:
    """Return the `jti` of the refresh token that follows one that is used at that time (Unix seconds).

    It begins with the time, so that it tells by itself what it follows and since when.
    """
    digest = hashlib.blake2b(f"{at} {jti}".encode(), digest_size=12, key=settings.SECRET_KEY.encode()[:64])
    return f"{at:08x}{digest.hexdigest()}"


def has_just_followed(current: str, jti: str, grace: int) -> bool:
    """Return whether the current `jti` is the successor of the other, for no longer than `grace` seconds."""
    try:
        at = int(current[:8], 16)
    except ValueError:
        return False
    return grace > 0 and time.time() - at <= grace and current == successor(jti, at)


class Rotated(Exception):  # noqa: N818  # an outcome, not an error
    """Another request has used the token."""


def sign_out(*, session_id: str, user_id: str, username: str, address: str) -> None:
    session_end(session_id=session_id)
    audit.record(Event.SIGNED_OUT, user_id=user_id, username=username, address=address, session=session_id)


def session_end(*, session_id: str) -> None:
    """End one session; ending it again changes nothing."""
    Session.objects.filter(id=session_id, ended_at=None).update(ended_at=timezone.now())


def other_sessions_end(*, user_id: str, kept_session: str) -> int:
    """End the user's sessions but for the kept one, and return how many there were."""
    others = Session.objects.filter(user_id=user_id, ended_at=None).exclude(id=kept_session)
    return others.update(ended_at=timezone.now())


def all_sessions_end() -> int:
    """End every session, and return how many there were."""
    return Session.objects.filter(ended_at=None).update(ended_at=timezone.now())


@transaction.atomic
def sessions_end(*, user_id: str, session_epoch: int | None, kept_session: str) -> int:
    """End the user's sessions that began before the login service's `session_epoch` (all, where that is `None`).

    Returns how many there were.

    The kept session lives on, as if it had begun in that epoch.
    """
    sessions = Session.objects.filter(user_id=user_id, ended_at=None)
    if session_epoch is not None:
        sessions.filter(id=kept_session, session_epoch__lt=session_epoch).update(session_epoch=session_epoch)
        sessions = sessions.filter(session_epoch__lt=session_epoch)
    return sessions.update(ended_at=timezone.now())


def log_ends(ended: int, *, user_id: str, by: Identity, address: str) -> None:
    """Log and record that sessions of a user were ended, and by whom: the user, or an admin."""
    log.info(
        "%d sessions of user %s were ended by %s",
        ended,
        user_id,
        by.username,
        extra={"event": "sessions_ended", "user_id": user_id, "by": by.user_id},
    )
    audit.record(Event.SESSIONS_ENDED, user_id=user_id, by=by.username, address=address, detail=f"sessions: {ended}")


def sessions_purge() -> int:
    """Delete the sessions that ended or expired longer ago than an access token lives; return how many."""
    past = timezone.now() - lifetime("ACCESS_TOKEN_LIFETIME") - MARGIN
    return Session.objects.filter(Q(ended_at__lt=past) | Q(expires_at__lt=past)).delete()[0]


purge = Purge(PURGE_EVERY, sessions_purge)


def open_sessions(user_id: str) -> QuerySet[Session]:
    """Return the user's sessions that have neither ended nor expired, newest first."""
    found = Session.objects.filter(user_id=user_id, ended_at=None, expires_at__gt=timezone.now())
    return found.order_by("-created_at")


class Sessions:
    """Begins and refreshes sessions, with the login service's account and signed tokens."""

    def __init__(self, login: LoginClient, backend: GatewayBackend) -> None:
        self.login = login
        self.backend = backend

    def begin(self, *, account: Account, client: Client) -> TokenPair:
        """Begin a session for an account that the login service has accepted; raise `InvalidToken` if it changed."""
        purge.when_due()
        session = session_create(account=account, client=client)
        # What ended the user's sessions since the password was checked may have found this one not there yet.
        try:
            epoch = self.login.account_by_id(account.user_id).session_epoch
        except RequestRejected:
            session_end(session_id=session.id)
            raise
        if epoch != account.session_epoch:
            session_end(session_id=session.id)
            raise InvalidToken("The user's sessions ended during the login. Sign in again.")
        audit.record(
            Event.SIGNED_IN,
            user_id=account.user_id,
            username=account.username,
            address=client.address,
            session=session.id,
            detail=session.user_agent,
        )
        return self.token_pair(account, session)

    def refresh(self, *, refresh_token: str, grace: int, client: Client) -> TokenPair:
        """Return the next pair of a session; raise `InvalidToken`, ending the session if the token is an old one.

        Several requests may refresh with one token at once, and a response with the next one may get lost. So within
        `grace` seconds (0: never) a token buys its one successor again, never another. Of two clients that hold it
        then, the second to use the successor ends the session, as with any token.
        """
        session, jti = self.find(refresh_token)
        if session.refresh_jti != jti and not has_just_followed(session.refresh_jti, jti, grace):
            session_reused(session=session, client=client)
        account = self.login.account_by_id(session.user_id)
        if session.refresh_jti == jti:
            with suppress(Rotated):
                return self.rotate(session=session, jti=jti, account=account, client=client)
            session.refresh_from_db()
        if session.ended_at is None and has_just_followed(session.refresh_jti, jti, grace):
            return self.token_pair(account, session)
        session_reused(session=session, client=client)

    def rotate(self, *, session: Session, jti: str, account: Account, client: Client) -> TokenPair:
        """Rotate the refresh token and return the next pair; of several at once all but one raise `Rotated`."""
        now = timezone.now()
        fresh = successor(jti, int(now.timestamp()))
        rotated = Session.objects.filter(id=session.id, refresh_jti=jti, ended_at=None).update(
            refresh_jti=fresh,
            last_used_at=now,
            expires_at=now + lifetime("REFRESH_TOKEN_LIFETIME"),
            **client.described(),
        )
        if not rotated:
            raise Rotated
        session.refresh_jti = fresh
        return self.token_pair(account, session)

    def find(self, refresh_token: str) -> tuple[Session, str]:
        """Return the open session of a refresh token, and the token's `jti`; raise `InvalidToken`."""
        try:
            token = RefreshToken(self.backend, refresh_token)
        except TokenError as exc:
            raise InvalidToken(REJECTED) from exc
        session = Session.objects.filter(id=token.get("sid"), ended_at=None, expires_at__gt=timezone.now()).first()
        if session is None or session.user_id != token["sub"]:
            raise InvalidToken(REJECTED)
        return session, str(token["jti"])

    def token_pair(self, account: Account, session: Session) -> TokenPair:
        """Return a pair for the session, whose current refresh token is the session's `refresh_jti`."""
        refresh = RefreshToken(self.backend)
        refresh.payload |= {"sub": account.user_id, "sid": session.id, "jti": session.refresh_jti}
        access = AccessToken(self.backend)
        access.payload |= {
            "sub": account.user_id,
            "username": account.username,
            "role": account.role,
            "sid": session.id,
        }
        ttl = lifetime("ACCESS_TOKEN_LIFETIME")
        return TokenPair(str(access), "bearer", int(ttl.total_seconds()), str(refresh))
