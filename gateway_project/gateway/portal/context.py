"""`request.gateway`: a Django request as `gate` takes it, parsed once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from django.http import HttpRequest
from rest_framework.request import Request

from chassis import logs
from gateway import bodies
from gateway.admission import Request as ParsedRequest
from gateway.admission import RequestHeaders
from gateway.identity.sessions import Client
from gateway.policy.access import Identity
from gateway.policy.paths import parse_target
from gateway.policy.rejections import RequestRejected
from gateway.runtime import Runtime
from gateway.upstreams import Upload

# The key of the client's connection in the WSGI environment, which the gateway's own server sets.
CLIENT = "gatehouse.client"
# Bytes of a body that is checked against the service's document: the fast door holds as much.
MAX_CHECKED = 1024 * 1024


@dataclass(slots=True)
class RequestContext:
    """A request and the runtime that decides on it. `identity` is who sends it, once that was asked."""

    runtime: Runtime
    request: ParsedRequest
    identity: Identity | None = None

    @property
    def headers(self) -> RequestHeaders:
        return self.request.headers

    @property
    def target(self) -> str:
        path, query = self.request.path, self.request.query
        return f"{path}?{query}" if query else path

    def origin(self) -> tuple[str, str]:
        """Return scheme and host as the client sees them; raise `BadRequest` for a host that is not ours."""
        return self.runtime.gate.origin(self.request.scheme, self.request.host, self.headers)

    def identify(self, method: str | None = None) -> Identity | None:
        """Return who sends the request, `None` without credentials; raise `InvalidToken` or `CrossOrigin`."""
        scheme, host = self.origin()
        found = self.runtime.gate.identify(method or self.request.method, self.headers, scheme, host)
        self.identity = found or self.identity
        return found

    def signed_in(self) -> Identity | None:
        """Return whom the client is signed in as, whatever it asks for: this is what a page shows."""
        with suppress(RequestRejected):
            return self.identify("GET")
        return None


class WebRequest(HttpRequest):
    """Django's request, once `AttachGateway` has seen it."""

    gateway: RequestContext


class APIRequest(Request):
    """DRF's request, which has the attributes of the Django request that it wraps."""

    gateway: RequestContext


def parse_request(request: HttpRequest, runtime: Runtime) -> RequestContext:
    """Return what `request.gateway` is."""
    target = target_of(request)
    raw_path, _, query = target.partition("?")
    path, scheme, authority = parse_target(raw_path)
    peer = str(request.META.get("REMOTE_ADDR", ""))
    headers = runtime.gate.read_headers(list(request.headers.items()), peer)
    request_id = logs.request_id.get()
    parsed = ParsedRequest(
        method=request.method or "",
        path=path,
        query=query,
        host=request.headers.get("Host", "") if authority is None else authority,
        headers=headers,
        scheme=request.scheme or "http",
        request_id=request_id,
        traceparent=headers.traceparent(request_id),
        version=str(request.META.get("SERVER_PROTOCOL", "HTTP/1.1")).removeprefix("HTTP/"),
        target_scheme=scheme,
    )
    return RequestContext(runtime, parsed)


def target_of(request: HttpRequest) -> str:
    """Return the request target, not decoded; encoded again if the server keeps only the decoded path."""
    target = cast("str | None", request.META.get("RAW_URI") or request.META.get("REQUEST_URI"))
    if target is not None:
        return target
    # Django has decoded it as UTF-8 already.
    path = quote(request.META.get("PATH_INFO", ""), safe="/!$&'()*+,;=:@~")
    query = request.META.get("QUERY_STRING")
    return f"{path}?{query}" if query else path


def client_of(request: WebRequest | APIRequest) -> Client:
    """Return where a session is used from."""
    return Client(request.gateway.headers.address, request.META.get("HTTP_USER_AGENT", ""))


def log_service(request: HttpRequest, service: str, address: str | None = None) -> None:
    """Put the service that the request was sent to into the access log line."""
    fields = getattr(request, "log_fields", {})
    fields |= {"service": service, "address": address}


def body(request: HttpRequest, limit: int) -> Upload | bytes:
    """Read and return the request's body; raise `RequestRejected` if it is too large or cannot be read."""
    length = bodies.check_length(request.META, limit)
    if length == 0:
        return b""
    stream = bodies.Stream(request.META["wsgi.input"], length)
    return Upload(stream.read, length, limit, to_its_end=CLIENT not in request.META)


def whole(upload: Upload | bytes) -> Upload | bytes:
    """Return the body once it is read, or one that is larger than `MAX_CHECKED` as it is."""
    if isinstance(upload, bytes) or upload.length is None or upload.length > MAX_CHECKED:
        return upload
    pieces = []
    while piece := upload.read(MAX_CHECKED):
        pieces.append(piece)
    return b"".join(pieces)


def on_disconnect(request: HttpRequest) -> Callable[[Callable[[], None]], None] | None:
    """Return what takes a call to make when the client leaves; only the gateway's own server can tell."""
    client = request.META.get(CLIENT)
    return cast("Callable[[Callable[[], None]], None]", client.on_disconnect) if client else None
