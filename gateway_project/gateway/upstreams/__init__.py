"""HTTP/1.1 to the services: one client for both doors, asynchronous at heart, with `requests` in front for threads."""

from .connections import Connection
from .forwarding import Body, Outgoing, Receive, forward
from .pools import Pool, Pools
from .session import Answer, Upstreams, upstreams

__all__ = ["Answer", "Body", "Connection", "Outgoing", "Pool", "Pools", "Receive", "Upstreams", "forward", "upstreams"]
