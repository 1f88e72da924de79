"""Where services are: the URLs of gateway.yaml, taken apart."""

from dataclasses import dataclass
from urllib.parse import urlsplit


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
