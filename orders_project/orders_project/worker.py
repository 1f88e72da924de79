"""gunicorn's worker with threads, which shares new connections with the other workers."""

import math
import socket
import time
from concurrent.futures import Future
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

# Seconds for which a worker whose threads are all at work leaves new connections to the others, after each.
PAUSE = 0.002


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn is not typed
    """A process of the orders service.

    A connection stays with the worker that accepted it. Of many that come at once gunicorn's would take all before the
    others are awake, and serve them alone from then on.
    """

    under_way = 0  # requests, those that wait for a thread too
    accepted = 0.0  # when, by `time.monotonic`

    def init_process(self) -> None:
        """Serve. A worker that is alone has nobody to leave connections to."""
        self.enough = self.cfg.threads if self.cfg.workers > 1 else math.inf
        super().init_process()

    def is_patient(self) -> bool:
        """Return whether new connections are for others now."""
        return self.under_way >= self.enough and time.monotonic() - self.accepted < PAUSE

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, unless others may."""
        if self.is_patient():
            self.set_accept_enabled(enabled=False)
        else:
            self.accepted = time.monotonic()
            super().accept(listener)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Look for new connections, or not; the loop asks for it again each time."""
        super().set_accept_enabled(enabled and not self.is_patient())

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for what comes, but no longer than others may have what is new."""
        super().wait_for_and_dispatch_events(min(timeout, PAUSE) if self.is_patient() else timeout)

    def enqueue_req(self, conn: TConn) -> None:
        """Have a thread answer what has come."""
        self.under_way += 1
        super().enqueue_req(conn)

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Go on with a connection once a thread is done with it."""
        self.under_way -= 1
        super().finish_request(conn, fs)
