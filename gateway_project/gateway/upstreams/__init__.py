"""HTTP/1.1 to the services: one client for both doors, asynchronous at heart, with `requests` in front for threads."""

from .balancing import Balancer, Pools
from .connection import Connection, Joined
from .fetching import SingleFlight, fetch
from .forwarding import Forwarding, forward
from .heads import HeaderBlock, ResponseHead, encode_by, encode_headers
from .pools import Pool
from .requests import NO_BODY, Body, Receive, UpstreamRequest
from .responses import WHOLE, ServiceResponse
from .session import Upstreams
from .threads import BlockingResponse, ClientLeft, Upload

__all__ = [
    "NO_BODY", "WHOLE", "Balancer", "BlockingResponse", "Body", "ClientLeft", "Connection", "Forwarding", "HeaderBlock",
    "Joined", "Pool", "Pools", "Receive", "ResponseHead", "ServiceResponse", "SingleFlight", "Upload",
    "UpstreamRequest", "Upstreams", "encode_by", "encode_headers", "fetch", "forward",
]  # fmt: skip
