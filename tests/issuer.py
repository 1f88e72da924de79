"""The gateway as seen by a service: published keys, and passports that they sign. Real HTTP, real signatures."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client

from chassis.conf import options
from chassis.passports import backend
from chassis.testing import SigningKey, passport_claims

JSON = "application/json"


class Issuer:
    """Serves its keys at `url` as a context manager; `fetches` counts the requests for them.

    If `answer` is set, it is the raw body of the response instead of the keys; `status` is the status.
    """

    def __init__(self) -> None:
        self.keys = [SigningKey()]
        self.fetches = 0
        self.answer: bytes | None = None
        self.status = 200
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.server.daemon_threads = True
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/.well-known/jwks.json"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=5)

    def body(self) -> bytes:
        """The body of the next response."""
        return self.answer if self.answer is not None else json.dumps({"keys": [key.jwk for key in self.keys]}).encode()

    @contextmanager
    def answering(self, body: bytes, status: int = 200) -> Iterator[None]:
        """Respond with this body until the block ends."""
        self.answer, self.status = body, status
        try:
            yield
        finally:
            self.answer, self.status = None, 200

    def passport(
        self,
        user_id: int | str = 1,
        *,
        audience: str | None,
        role: str = "default",
        key: SigningKey | None = None,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a passport for the audience (`None`: without `aud`); a claim given as `None` is left out."""
        made = passport_claims(user_id, role, aud=audience, **{"exp": int(time.time()) + 60} | claims)
        return (key or self.keys[0]).sign(made, headers)


class Api:
    """Calls the service as the gateway does for one user. An exception is the 500 that a client gets."""

    def __init__(self, issuer: Issuer, service: str, user_id: int | str, role: str) -> None:
        passport = issuer.passport(user_id, audience=service, role=role)
        self.headers = {"authorization": f"Bearer {passport}", "request-user-id": str(user_id)}
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, query: dict[str, Any] | None = None, **headers: str) -> HttpResponse:
        return self.client.get(path, query, headers=self.headers | headers)

    def post(self, path: str, body: object = None, content_type: str = JSON, **extra: Any) -> HttpResponse:
        """Post the value as JSON; text and bytes stay unchanged."""
        raw = body if isinstance(body, (str, bytes)) else b"" if body is None else json.dumps(body)
        # Not `client.post`, which encodes the body in the charset of the content type.
        return self.client.generic("POST", path, raw, content_type=content_type, headers=self.headers, **extra)


def trust(url: str) -> None:
    """Make the service in this process accept passports signed by the keys at this URL."""
    settings.GATEHOUSE["JWKS_URL"] = url
    options.cache_clear()
    backend.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def issuer() -> Iterator[Issuer]:
    """A conftest.py imports this fixture, and `user`, for the service of its settings."""
    with Issuer() as running:
        trust(running.url)
        yield running


@pytest.fixture
def user(issuer: Issuer) -> Callable[..., Api]:
    """Return the client of a user: `user(1)`, `user(2, role="admin")`."""
    return lambda user_id=1, role="default": Api(issuer, settings.GATEHOUSE["SERVICE"], user_id, role)


def handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    """Return the request handler of the issuer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.fetches += 1
            body = issuer.body()
            self.send_response(issuer.status)
            self.send_header("Content-Type", "application/jwk-set+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    return Handler
