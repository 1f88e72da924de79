"""Which sessions have ended: every worker knows it within a second, and no request waits for it.

An access token is valid for 15 minutes and is verified without a lookup. So each worker has the set
of ended sessions whose tokens may be unexpired, in memory, and every request is compared with it.
Two threads in each worker poll twice a second to keep the set current:

- one reads the login service's list of users whose sessions ended (`/internal/session-ends`, from a
  cursor on) and ends those sessions in the gateway's database;
- one reads from that database which sessions have ended.

There are two threads so that a slow login service does not delay logouts. With PostgreSQL, the
workers of all gateways take turns at the login service: the first one claims the turn in the database,
and the others find it claimed. So the login service gets two requests a second, not two from each worker.

Each step can be repeated without effect, so a failed poll is simply tried again, and any worker may be
the first. If a list cannot be read, the known ends stay in force, and /readyz reports `stale`. A cursor
that the login service does not know belongs to another list, for example of a restored database: the
list is read from its beginning, or all sessions end.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import DatabaseError, close_old_connections, connection, transaction
from django.utils import timezone

from gateway.policy.rejections import RequestRejected

from . import audit, sessions
from .audit import Event
from .credentials import CursorRejected, LoginClient
from .models import Follower, Session

log = logging.getLogger(__name__)

# Seconds between two looks. Ends are to be known everywhere within 2 s; half a second leaves room for a slow look.
INTERVAL = 0.5
# Seconds for which a turn stays claimed: less than INTERVAL, so that its worker is in time for the next one.
TURN = 0.4
# By the database's clock: those of machines differ.
CLAIM = f"""
INSERT INTO identity_follower (id, cursor, claimed_at) VALUES (1, '', clock_timestamp())
ON CONFLICT (id) DO UPDATE SET claimed_at = clock_timestamp()
WHERE identity_follower.claimed_at IS NULL
   OR identity_follower.claimed_at < clock_timestamp() - interval '{TURN} seconds'
"""  # noqa: S608  # a constant
# How long a look may take before what it is to find out counts as not known.
SLOW = timedelta(seconds=1)


def claim_turn() -> bool:
    """Claim the turn to ask the login service; return whether it was free. In SQLite it always is: one machine."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute(CLAIM)
        return bool(cursor.rowcount)


def follow_login_service(login: LoginClient) -> None:
    """Apply to our sessions what ended at the login service since the last look. Applied twice, it changes nothing.

    A list that it does not know our place in is another one, as of a restored database: it is read from its beginning.
    """
    follower = Follower.objects.filter(pk=1).first()
    cursor = follower.cursor if follower else ""
    try:
        follow_from(login, cursor)
    except CursorRejected:
        log.warning("The login service's list of ended sessions is another one, and is read from its beginning")
        # Unless another worker has begun already.
        Follower.objects.filter(pk=1, cursor=cursor).delete()
        follow_from(login, "")


def follow_from(login: LoginClient, cursor: str) -> None:
    """Apply what ended after the cursor, page by page, and store the place."""
    while True:
        found = login.session_ends(cursor)
        if found.all_ended:
            end_all(cursor, found.cursor)
        for end in found.ends:
            ended = sessions.sessions_end(
                user_id=end.user_id, session_epoch=end.session_epoch, kept_session=end.kept_session
            )
            if ended:
                detail = f"{ended} sessions"
                audit.record(Event.SESSIONS_ENDED, user_id=end.user_id, by="the login service", detail=detail)
        if found.cursor == cursor:
            return
        Follower.objects.update_or_create(pk=1, defaults={"cursor": found.cursor})
        cursor = found.cursor


@transaction.atomic
def end_all(cursor: str, reached: str) -> None:
    """End every session once, in the worker that comes first; sessions that begin later continue."""
    if Follower.objects.filter(pk=1, cursor=cursor).update(cursor=reached):
        ended = sessions.all_sessions_end()
        log.warning("The login service has an older copy of its users, or edited ones: %d sessions end", ended)
        audit.record(Event.SESSIONS_ENDED, by="the login service", detail=f"all sessions: {ended}")


class PolledList:
    """A list that is read repeatedly; what was read stays if it cannot be read."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.failing_since: datetime | None = None
        self.looking_since: datetime | None = None

    @property
    def stale_since(self) -> datetime | None:
        """When the first failed read began, `None` if the last read succeeded."""
        looking = self.looking_since
        if self.failing_since is None and looking is not None and timezone.now() - looking > SLOW:
            return looking
        return self.failing_since

    def look(self, read: Callable[[], None]) -> None:
        """Read once; log the first failure, and the recovery. Raises nothing."""
        began = self.looking_since = timezone.now()
        try:
            read()
        except Exception as exc:  # noqa: BLE001  # whatever it is: without the next look, no end is ever known again
            self.fail(exc, began)
        else:
            self.succeed()
        self.looking_since = None

    def fail(self, exc: Exception, began: datetime) -> None:
        if self.failing_since is None:
            self.failing_since = began
            known = isinstance(exc, RequestRejected | DatabaseError)
            why = exc.detail if isinstance(exc, RequestRejected) else exc
            log.warning("%s cannot be read, what is known stays: %s", self.what, why, exc_info=not known)

    def succeed(self) -> None:
        if self.failing_since is not None:
            away = (timezone.now() - self.failing_since).total_seconds()
            self.failing_since = None
            log.warning("%s can be read again, after %.1f s", self.what, away)


class Revocations:
    """The ended sessions whose access tokens may still be unexpired."""

    def __init__(self, login: LoginClient) -> None:
        self.login = login
        self.ended: frozenset[str] = frozenset()
        self.started = False
        self.starting = threading.Lock()
        self.stopping = threading.Event()
        self.logins = PolledList("The login service's list of ended sessions")
        self.sessions = PolledList("The gateway's list of ended sessions")
        self.lists = (self.logins, self.sessions)

    @property
    def stale_since(self) -> datetime | None:
        """Since when one of the lists is not known as it is now; `None` where both are."""
        return min((since for since in [each.stale_since for each in self.lists] if since), default=None)

    def look(self) -> None:
        """Bring `ended` up to date with both lists; what is known stays if one cannot be read."""
        self.logins.look(self.follow)
        self.sessions.look(self.read_sessions)

    def follow_in_turn(self) -> None:
        """Apply what ended, if it is this worker's turn or its last look failed.

        A failure frees the turn at once. So while the login service fails, every worker asks it, and reports `stale`
        until its own request succeeds: a turn that another worker has claimed shows neither failure nor recovery.
        """
        if self.login.config.login is None:
            return
        if self.logins.failing_since is None and not claim_turn():
            return
        try:
            self.follow()
        except BaseException:
            with suppress(DatabaseError):
                Follower.objects.filter(pk=1).update(claimed_at=None)
            raise

    def follow(self) -> None:
        """Apply what ended at the login service, if there is one."""
        if self.login.config.login is not None:
            follow_login_service(self.login)

    def read_sessions(self) -> None:
        """Read which sessions ended within the lifetime of an access token."""
        since = timezone.now() - sessions.lifetime("ACCESS_TOKEN_LIFETIME") - timedelta(seconds=5)
        self.ended = frozenset(Session.objects.filter(ended_at__gt=since).values_list("id", flat=True))

    def start(self) -> None:
        """Read the sessions, and start the threads; a second call changes nothing."""
        with self.starting:
            if not self.started:
                self.read_sessions()
                for each in ((self.logins, self.follow_in_turn), (self.sessions, self.read_sessions)):
                    threading.Thread(target=self.poll_forever, args=each, name="revocations", daemon=True).start()
                self.started = True

    def is_ended(self, session_id: str) -> bool:
        """Return whether the session has ended. The first call starts the threads."""
        if not self.started:
            self.start()
        return session_id in self.ended

    def poll_forever(self, followed: PolledList, read: Callable[[], None]) -> None:
        while not self.stopping.wait(INTERVAL):
            close_old_connections()
            followed.look(read)
        connection.close()
