"""gunicorn's ASGI worker, as a door to the open network needs it.

gunicorn parses requests and writes answers. Added here: a bound on the time that a request's head may take, errors as
problem documents, connections that a service's WebSocket takes over, and no second task for each request.
"""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from gateway.logs import request_id_from

if TYPE_CHECKING:
    # gunicorn's master imports this module, before Django is set up.
    from .tunnels import Tunnel

# Seconds within which a request's head has to come, the first from the connection's beginning.
HEAD_WITHIN: Final = 30.0

# Seconds for which a connection that is closed takes what the client is still sending.
LINGER: Final = 2.0

# What gunicorn's parser refuses, in the words of a problem's `detail`.
EXPECTED: Final = {
    400: "Expected a well-formed HTTP/1.1 request.",
    408: "Expected the request's head sooner.",
    414: "Expected a shorter request line.",
    431: "Expected fewer or shorter header fields.",
    500: "Something went wrong here. The log has it.",
    501: "Expected no transfer coding but chunked.",
}


class Protocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn is not typed
    """A client's connection."""

    # gunicorn's own.
    _body_receiver: Any
    _callback_parser: Any
    _closed: bool
    _response_buffer: bytes | None
    lingers = False
    _websocket: Any

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  # asyncio's
        """Begin to wait for a head."""
        self.head_timer = self.worker.loop.call_later(HEAD_WITHIN, self.head_is_late)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self.head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; the first bytes of another request begin the time that its head has."""
        if self.lingers:
            return
        if self._awaiting_request and self._keepalive_handle is not None:
            self._cancel_keepalive_timer()
            self.head_timer = self.worker.loop.call_later(HEAD_WITHIN, self.head_is_late)
        super().data_received(data)

    def _on_headers_complete(self) -> bool:
        self.head_timer.cancel()
        go_on = bool(super()._on_headers_complete())
        if self._current_request.version < (1, 1):
            # Nobody promises an HTTP/1.0 client that the connection stays, so it does not.
            self._current_request.must_close = True
        return go_on

    def _close_transport(self) -> None:
        """Say that there is no more to come, and take what is still on its way.

        Closed with bytes unread, the connection would be reset, and the answer lost with it (RFC 9112, section 9.6).
        """
        if self.transport is None or self._closed:
            return
        self._closed = True
        if self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.lingers = True
        self.transport.write_eof()
        self._reading_paused = True
        self._resume_reading()
        self.worker.loop.call_later(LINGER, self.transport.close)

    def head_is_late(self) -> None:
        """Say so, and close: a head that does not come must not hold a connection."""
        if self.transport is not None and self._awaiting_request:
            self._send_error_response(408, "")
            self._close_transport()

    async def _serve_http_request(self, request: Any, sockname: Any, peername: Any) -> bool:  # noqa: ANN401  # gunicorn's
        """Run the application in the connection's own task: it does nothing more once it has answered."""
        return bool(await self._handle_http_request(request, sockname, peername))

    def _is_websocket_upgrade(self, request: Any) -> bool:  # noqa: ANN401  # gunicorn's
        """Leave the handshake to the door: it is a request like any other, until the service takes it up."""
        return False

    def _build_http_scope(self, request: Any, sockname: Any, peername: Any) -> dict[str, Any]:  # noqa: ANN401  # gunicorn's
        scope: dict[str, Any] = super()._build_http_scope(request, sockname, peername)
        scope["gatehouse.client"] = self
        return scope

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:  # noqa: ANN401  # gunicorn's
        """Announce the end of a connection whose request has not been read to its end (RFC 9112, section 9.6)."""
        receiver = self._body_receiver
        is_read = receiver is None or receiver._complete  # noqa: SLF001
        return not is_read or bool(super()._will_close(request, response_requires_close))

    def flush(self) -> None:
        """Send the answer's head, which gunicorn keeps for the first piece of the body."""
        head, self._response_buffer = self._response_buffer, None
        if head:
            self._safe_write(head)

    def take_over(self, head: bytes, tunnel_of: Callable[[asyncio.Transport], "Tunnel"]) -> "Tunnel":
        """Send the head, and let all that the client sends from here on go to the tunnel."""
        pending = self._callback_parser.remaining()
        self._callback_parser = None
        self._websocket = tunnel = tunnel_of(self.transport)
        self.transport.write(head)
        if pending:
            tunnel.feed_data(pending)
        return tunnel

    def pause_writing(self) -> None:
        """Let the service wait for the client."""
        super().pause_writing()
        if self._websocket is not None:
            self._websocket.client_is_full(True)

    def resume_writing(self) -> None:
        """Let the service go on."""
        super().resume_writing()
        if self._websocket is not None:
            self._websocket.client_is_full(False)

    def _send_error_response(self, status: int, message: str, extra_headers: Any = ()) -> None:  # noqa: ANN401  # gunicorn's
        """Answer with a problem document what never reaches the door."""
        if self._websocket is not None:
            return
        request_id = request_id_from(None)
        members = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": EXPECTED.get(status, HTTPStatus(status).phrase),
            "instance": "",
            "request_id": request_id,
            "origin": "gateway",
        }
        content = json.dumps(members, separators=(",", ":")).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(content)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self._safe_write(head.encode() + content)


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]  # gunicorn is not typed
    """A process of the gateway."""

    def init_process(self) -> None:
        """Serve connections with `Protocol`: gunicorn's worker has its own in the module and offers no other way."""
        gasgi.ASGIProtocol = Protocol
        # It looks for its C parser through whichever class asks first, and for what it found at its own class.
        ASGIProtocol._check_h1c_protocol_available()  # noqa: SLF001
        super().init_process()
