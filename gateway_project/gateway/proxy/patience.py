"""How long a client may keep the gateway waiting."""

from typing import Final

# Seconds to begin with, and bytes for which there is another second: the default of Apache's RequestReadTimeout.
FIRST: Final = 20.0
BYTES_PER_SECOND: Final = 500
# Seconds in which something has to come or be taken, however much came before.
LONGEST: Final = 60.0


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
        return now + min(LONGEST, FIRST + moved / BYTES_PER_SECOND - self.waited)

    def stop(self, now: float) -> None:
        """End the wait."""
        self.waited += now - self.since

    def renew(self, now: float, moved: int) -> float | None:
        """Return the next moment to wait until, `None` if the client has used up its time."""
        if moved == self.moved:
            return None
        self.stop(now)
        until = self.start(now, moved)
        return until if until > now else None
