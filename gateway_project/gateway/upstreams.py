"""Requests to the services: one pooled session a process, every wait bounded, nothing added and nothing followed.

What goes wrong is an `UpstreamFailed` of `policy.refusals`.
"""

import time
from collections.abc import Iterator, Sequence
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from functools import cache
from http.client import HTTPResponse, RemoteDisconnected
from http.cookiejar import DefaultCookiePolicy
from itertools import count
from typing import cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import SKIP_HEADER

from . import configuration
from .config import Timeouts
from .policy.headers import from_upstream
from .policy.refusals import BadUpstream, Refused, UpstreamDown, UpstreamLate, UpstreamMalformed

# Connections kept to each address of a service; more are opened when needed, and closed after use.
POOL_SIZE = 64
CHUNK = 64 * 1024
HeaderDefect = FirstHeaderLineIsContinuationDefect | MissingHeaderBodySeparatorDefect
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class Answer:
    """A service's answer: its status and headers are here, its body may still be on the way."""

    def __init__(self, service: str, response: requests.Response, deadline: float) -> None:
        self.service = service
        self.status = response.status_code
        self.headers = headers_of(service, response)
        self.deadline = deadline
        self.response = response

    def body(self) -> Iterator[bytes]:
        """Yield the body as it comes, still in its content coding; raise `UpstreamDown` or `UpstreamLate`."""
        raw = self.response.raw
        try:
            while chunk := raw.read1(CHUNK, decode_content=False):
                yield chunk
                if time.monotonic() > self.deadline:
                    raise UpstreamLate(self.service)
        except urllib3.exceptions.ReadTimeoutError as exc:
            raise UpstreamLate(self.service) from exc
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise UpstreamDown(self.service) from exc
        finally:
            # Read to its end, the connection is back in the pool by now; any other is in doubt.
            raw.close()

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.body())


def headers_of(service: str, response: requests.Response) -> list[tuple[str, str]]:
    """Return the answer's headers, those between neighbours left out; raise `UpstreamMalformed`."""
    try:
        # urllib3 logs what it could not parse and goes on; only the parser's own message still knows.
        parsed = cast("HTTPResponse", response.raw._original_response).msg  # noqa: SLF001
        if any(isinstance(defect, HeaderDefect) for defect in parsed.defects):
            raise UpstreamMalformed(service)
        return from_upstream(list(response.raw.headers.items()))
    except BadUpstream as exc:
        response.raw.close()
        raise UpstreamMalformed(service) from exc


class Upstreams:
    """The pooled session. Its state is its connections: no cookies, no environment, no redirects."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(pool_connections=32, pool_maxsize=POOL_SIZE)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)
        self.turn = count()

    def send(
        self,
        service: str,
        method: str,
        target: str,
        *,
        timeouts: Timeouts | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        """Send a request to one of the service's addresses in turn, or to the next where that cannot be connected to.

        `target` is path and query, already encoded; without `timeouts` the service's own hold. Raises `UpstreamDown` or
        `UpstreamLate`.
        """
        known = configuration.current().services[service]
        timeouts = timeouts or known.timeouts
        first = next(self.turn)
        deadline = time.monotonic() + timeouts.total
        refused: Refused = UpstreamDown(service)
        for attempt in range(len(known.url)):
            url = known.url[(first + attempt) % len(known.url)] + target
            try:
                return self.exchange(service, prepare(method, url, headers, body), timeouts, deadline)
            except requests.exceptions.ConnectTimeout:
                refused = UpstreamLate(service)
            except NotSent:
                refused = UpstreamDown(service)
        raise refused

    def exchange(
        self,
        service: str,
        request: requests.PreparedRequest,
        timeouts: Timeouts,
        deadline: float,
        repeated: bool = False,
    ) -> Answer:
        """Send the request to one address and return the answer's head.

        A pooled connection that the service had closed meanwhile is no failure of the service: what may be repeated
        (RFC 9110, section 9.2.2) is sent once more.
        """
        try:
            response = self.session.send(
                request, stream=True, allow_redirects=False, timeout=(timeouts.connect, timeouts.total)
            )
        except requests.exceptions.ConnectTimeout:
            raise
        except requests.exceptions.Timeout as exc:
            raise UpstreamLate(service) from exc
        except requests.exceptions.ConnectionError as exc:
            if was_not_sent(exc):
                raise NotSent from exc
            if was_closed_before_an_answer(exc) and request.method in IDEMPOTENT and not repeated:
                return self.exchange(service, request, timeouts, deadline, repeated=True)
            raise UpstreamDown(service) from exc
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as exc:
            raise UpstreamDown(service) from exc
        return Answer(service, response, deadline)


class NotSent(Exception):  # noqa: N818  # an outcome, not an error: the next address is tried
    """No connection could be made, so nothing was sent."""


def was_not_sent(exc: requests.exceptions.ConnectionError) -> bool:
    """Return whether the failure came before a connection was there."""
    cause = exc.args[0] if exc.args else None
    return isinstance(cause, urllib3.exceptions.MaxRetryError) and isinstance(
        cause.reason, urllib3.exceptions.NewConnectionError
    )


def was_closed_before_an_answer(exc: requests.exceptions.ConnectionError) -> bool:
    """Return whether the connection was closed before the first byte of an answer."""
    cause = exc.args[0] if exc.args else None
    return isinstance(cause, urllib3.exceptions.ProtocolError) and any(
        isinstance(reason, RemoteDisconnected | ConnectionResetError | BrokenPipeError) for reason in cause.args
    )


def prepare(method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> requests.PreparedRequest:
    """Return the request as it goes out: these headers and no others, the URL not normalised again."""
    request = requests.Request(method, url).prepare()
    request.url = url
    request.headers.clear()
    # urllib3 would add these two of its own.
    request.headers.update({"Accept-Encoding": SKIP_HEADER, "User-Agent": SKIP_HEADER})
    request.headers.update(headers)
    if body or method in {"POST", "PUT", "PATCH"}:
        request.headers["Content-Length"] = str(len(body))
        request.body = body
    return request


@cache
def upstreams() -> Upstreams:
    """Return the process's upstreams."""
    return Upstreams()
