"""HTTP/1.1 to the services: one client for both doors, asynchronous at heart, with `requests` in front for threads."""

from .connections import Connection
from .fetching import SingleFlight, fetch
from .forwarding import Body, Outgoing, Receive, forward
from .pools import Pool, Pools
from .session import Answer, ClientLeft, Upload, Upstreams

__all__ = [
    "Answer", "Body", "ClientLeft", "Connection", "Outgoing", "Pool", "Pools", "Receive", "SingleFlight", "Upload",
    "Upstreams", "fetch", "forward",
]  # fmt: skip
