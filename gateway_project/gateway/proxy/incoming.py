"""A client's request as `gate` takes it, and the problem that responds to one that is rejected."""

import json
from typing import Any

from chassis import logs, problems
from gateway.gate import Gate, Request, RequestHeaders
from gateway.policy.headers import Headers
from gateway.policy.paths import parse_target

from .client import ClientConnection
from .requests import RequestMessage


def parse_request(connection: ClientConnection, message: RequestMessage, gate: Gate) -> Request:
    """Return the request as `gate` takes it."""
    known = message.known
    headers = known.headers if known else None
    if headers is None:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.fields]
        headers = RequestHeaders(pairs, connection.address, gate)
        if known is not None:
            known.headers = headers
    raw_path, _, query = message.target.decode("latin-1").partition("?")
    path, target_scheme, authority = parse_target(raw_path)
    return Request(
        method=message.method,
        path=path,
        query=query,
        host=headers.host if authority is None else authority,
        headers=headers,
        scheme=connection.worker.scheme,
        request_id=logs.request_id_from(headers.request_id),
        version="1.1" if message.http_1_1 else "1.0",
        target_scheme=target_scheme,
    )


def problem(path: str, status: int, detail: str, code: str = "", service: str | None = None) -> tuple[Headers, bytes]:
    """Return the headers and the content of a problem."""
    members: dict[str, Any] = problems.members(path, status, detail, code=code or None)
    if service is not None:
        members["service"] = service
    content = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    # A browser would get a page.
    return [("content-type", problems.MEDIA_TYPE), ("vary", "Accept")], content
