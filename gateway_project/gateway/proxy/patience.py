"""How long a client may keep the gateway waiting.

One clock of a body. A timeout for each read lets a client hold a connection forever with a byte now
and then. A timeout for the whole body rejects honest slow clients. So a body has one clock, which
runs only while the gateway waits for the client. It starts with 20 seconds and gains one for every 500
bytes, like `RequestReadTimeout` of Apache's mod_reqtimeout. Below that rate the clock runs out,
however the bytes are spread. One wait lasts at most 60 seconds, so that a fast start earns no long
pause. The same clock measures a client that takes a response. A request that runs out of time is 408
(RFC 9110, section 15.5.9); a response is cut.
"""

from typing import Final

# Seconds to begin with, and bytes for which there is another second: the default of Apache's RequestReadTimeout.
BASE_TIME: Final = 20.0
BYTES_PER_SECOND: Final = 500
# Seconds in which something has to come or be taken, however much came before.
MAX_WAIT: Final = 60.0


class Patience:
    """The one clock of a body that a client sends, or of a response that it takes: it runs while the gateway waits."""

    __slots__ = ("moved", "since", "waited")

    def __init__(self) -> None:
        self.waited = 0.0
        self.since = 0.0
        self.moved = 0

    def start(self, now: float, moved: int) -> float:
        """Begin to wait for a client that has sent or taken so many bytes until now; return until when."""
        self.since = now
        self.moved = moved
        return now + min(MAX_WAIT, BASE_TIME + moved / BYTES_PER_SECOND - self.waited)

    def stop(self, now: float) -> None:
        self.waited += now - self.since

    def renew(self, now: float, moved: int) -> float | None:
        """Return the next moment to wait until, `None` if the client has used up its time."""
        if moved == self.moved:
            return None
        self.stop(now)
        until = self.start(now, moved)
        return until if until > now else None
