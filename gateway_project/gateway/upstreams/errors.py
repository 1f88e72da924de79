"""Why a service failed, in the log: one line a minute for each service, address and cause, with how many there were."""

import logging
import socket
import ssl
import time
from errno import ECONNREFUSED
from typing import Final

log = logging.getLogger(__name__)

# Seconds between two lines that say the same.
INTERVAL: Final = 60.0


def cause_of(exc: OSError) -> tuple[str, str]:
    """Return why no connection could be made: in words that may be shown to anyone, and what else there is to it."""
    if isinstance(exc, socket.gaierror):
        return "its name cannot be resolved", exc.strerror or ""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return "its certificate is not accepted", exc.verify_message
    if isinstance(exc, ssl.SSLError):
        return "no TLS connection could be made", exc.reason or str(exc)
    if is_refused(exc):
        return "connection refused", ""
    return "no connection could be made", exc.strerror or str(exc)


def is_refused(exc: OSError) -> bool:
    """Return whether the connection was refused; for several addresses of a name asyncio raises one error."""
    return exc.errno == ECONNREFUSED or f"[Errno {ECONNREFUSED}]" in str(exc)


class ErrorLog:
    """Logs errors, and counts those that it does not log. Its size is bounded by the configuration."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        # By service, address and cause: when there was a line, and how many errors since.
        self.logged: dict[tuple[str, str, str], tuple[float, int]] = {}

    def note(self, service: str, address: str, cause: str, more: str = "", *, level: int = logging.WARNING) -> None:
        """Log the error, unless the same was logged within the interval."""
        key = service, address, cause
        now = time.monotonic()
        at, unlogged = self.logged.get(key, (-self.interval, 0))
        if now - at < self.interval:
            self.logged[key] = at, unlogged + 1
            return
        self.logged[key] = now, 0
        log.log(
            level,
            "The %s service%s %s%s%s",
            service,
            f" at {address}" if address else "",
            cause,
            f" ({more})" if more else "",
            f"; {unlogged} times more since the last line" if unlogged else "",
            extra={"event": "upstream_error", "service": service, "address": address, "errors": unlogged + 1},
        )
