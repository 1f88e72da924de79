"""Where services are: the URLs of gateway.yaml, taken apart. And the states of an address in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

# The states of an address, from the worst to the best.
STATES: Final = ("ejected", "probing", "failing", "healthy")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is."""

    secure: bool
    host: str
    port: int
    # The value of `Host`.
    authority: str
    # In front of every path.
    base: str

    def label(self, ip: str | None) -> str:
        """Return what the address is called in the log: the authority, or of a name's addresses the one."""
        if ip is None:
            return self.authority
        return f"[{ip}]:{self.port}" if ":" in ip else f"{ip}:{self.port}"

    @classmethod
    def of(cls, url: str) -> "Address":
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname or "", parts.port or (443 if secure else 80), parts.netloc, parts.path)


def states_in_words(states: Mapping[str, int]) -> str:
    """Return the states of an address, the worst first, with the number of workers where they differ."""
    found = [(state, states[state]) for state in STATES if state in states]
    if len(found) == 1:
        return found[0][0]
    total = f" of {sum(states.values())} workers"
    return ", ".join(f"{state} in {count}{total if not place else ''}" for place, (state, count) in enumerate(found))
