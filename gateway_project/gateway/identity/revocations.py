"""Which sessions have ended: known to each worker within a second, without asking anyone on a request's way.

A thread of each worker follows two lists: the login service's, of users whose sessions ended, which it applies to the
gateway's sessions; and the gateway's own, of the sessions that ended within the lifetime of an access token.
"""

import logging
import threading
from datetime import timedelta
from functools import cache

from django.db import close_old_connections, connection
from django.utils import timezone

from gateway import configuration
from gateway.policy.refusals import Refused

from . import credentials, sessions
from .models import Follower, Session

log = logging.getLogger(__name__)

# Seconds between two looks. Ends are to be known everywhere within 2 s; half a second leaves room for a slow look.
INTERVAL = 0.5


def follow_login_service() -> None:
    """Apply to our sessions what ended at the login service since the last look. Applied twice, it changes nothing."""
    follower = Follower.objects.filter(pk=1).first()
    cursor = follower.cursor if follower else ""
    while True:
        ends, reached = credentials.session_ends(cursor)
        for end in ends:
            sessions.sessions_end(user_id=end.user_id, session_epoch=end.session_epoch, kept_session=end.kept_session)
        if reached == cursor:
            return
        Follower.objects.update_or_create(pk=1, defaults={"cursor": reached})
        cursor = reached


class Revocations:
    """The ended sessions whose access tokens may still be unexpired."""

    def __init__(self) -> None:
        self.ended: frozenset[str] = frozenset()
        self.started = False
        self.starting = threading.Lock()
        self.stopping = threading.Event()
        self.away = False

    def look(self) -> None:
        """Bring `ended` up to date with both lists; what is known stays, where one of them is away."""
        if configuration.current().login is not None:
            try:
                follow_login_service()
                self.away = False
            except Refused as exc:
                if not self.away:
                    log.warning("The login service's ended sessions cannot be followed: %s", exc.detail)
                self.away = True
        self.read_sessions()

    def read_sessions(self) -> None:
        """Read which of our sessions ended within the lifetime of an access token."""
        since = timezone.now() - sessions.lifetime("ACCESS_TOKEN_LIFETIME") - timedelta(seconds=5)
        self.ended = frozenset(Session.objects.filter(ended_at__gt=since).values_list("id", flat=True))

    def start(self) -> None:
        """Read the sessions, and start the thread; a second call changes nothing."""
        with self.starting:
            if not self.started:
                self.read_sessions()
                threading.Thread(target=self.keep_looking, name="revocations", daemon=True).start()
                self.started = True

    def is_ended(self, session_id: str) -> bool:
        """Return whether the session has ended. The first call starts to follow the lists, if nobody has."""
        if not self.started:
            self.start()
        return session_id in self.ended

    def keep_looking(self) -> None:
        """Look until the process ends; a failure is logged and the next look tries again."""
        while not self.stopping.wait(INTERVAL):
            try:
                close_old_connections()
                self.look()
            except Exception:
                # Whatever it was: a thread that ended here would leave every later end unknown.
                log.exception("Ended sessions could not be read")
        connection.close()


@cache
def revocations() -> Revocations:
    """Return the process's revocations."""
    return Revocations()
