"""The problems that respond to requests which are rejected, or fail here."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from chassis import problems
from gateway.policy.cors import CorsPolicy
from gateway.policy.headers import Headers
from gateway.policy.rejections import RequestRejected, UpstreamError
from gateway.recent_problems import described

if TYPE_CHECKING:
    from .exchange import Exchange

log = logging.getLogger(__name__)

FAILED: Final = "Something went wrong here. The log has it under this request_id."
# A browser would get a page.
HEADERS: Final = [("content-type", problems.MEDIA_TYPE), ("vary", "Accept")]


def reject(exchange: "Exchange", rejected: RequestRejected) -> None:
    extensions = rejected.extensions
    if isinstance(rejected, UpstreamError):
        extensions = {"service": rejected.service} | extensions
    content = document(path_of(exchange), rejected.status, rejected.detail, rejected.code, extensions)
    headers = [*HEADERS, *rejected.headers.items()]
    exchange.respond(rejected.status, readable(exchange, headers, rejected.cors), content, rejected)


def fail(exchange: "Exchange", exc: Exception) -> None:
    """Respond to a fault of the gateway's own. The client gets only the id under which the log has it."""
    log.error("%s %s failed", exchange.request.method, exchange.request.path, exc_info=exc)
    if exchange.writer is None and not exchange.connection.tunnel:
        content = document(path_of(exchange), 500, FAILED)
        exchange.respond(500, readable(exchange, HEADERS), content)


def document(
    path: str, status: int, detail: str, code: str = "", extensions: Mapping[str, object] | None = None
) -> bytes:
    """Return the problem; extensions are members beside, or instead of, the usual."""
    return problems.encode(problems.members(path, status, detail, code=code or None) | dict(extensions or {}))


def path_of(exchange: "Exchange") -> str:
    return unquote(exchange.request.path, errors="replace")


def readable(exchange: "Exchange", headers: Headers, cors: CorsPolicy | None = None) -> Headers:
    """Return a problem's headers, so that a page that may send the request can read it."""
    match = exchange.match
    if match is not None and match.policies is not None:
        cors = match.policies.cors
        headers = match.policies.with_deprecation(headers, match.params)
    return cors.applied(headers, exchange.request.headers.page_origin) if cors else headers


def record(exchange: "Exchange", status: int, seconds: float, rejected: RequestRejected | None) -> None:
    request, match, forwarding = exchange.request, exchange.match, exchange.forwarding
    identity = exchange.decision.grant.identity if exchange.decision else rejected.identity if rejected else None
    problem = {
        "request_id": request.request_id,
        "method": request.method,
        "path": request.path,
        "status": status,
        "seconds": round(seconds, 6),
        "client": request.headers.address,
        "user_id": identity.user_id if identity else None,
        "route": match.route.path if match else None,
        "service": match.route.service if match else None,
        "address": forwarding.address if forwarding else None,
        "tries": forwarding.went_wrong if forwarding else (),
    }
    exchange.proxy.problems.record(problem | described(rejected))
