"""A service's response as Django's response: every header as often as the service sent it, any status, any bytes."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase, ResponseHeaders
from rest_framework.response import Response

from gateway.policy import codings
from gateway.policy.headers import Headers, values
from gateway.policy.negotiation import is_about_storing
from gateway.upstreams import BlockingResponse

# Bytes: a response up to this size is read whole before its head is sent, so that an incomplete one is a 502.
WHOLE = 64 * 1024


class MultiHeaders:
    """Keeps repeated headers and any status. Django's responses hold one value a name."""

    headers: ResponseHeaders
    status_code: int
    repeated: Headers

    def take(self, status: int, headers: Headers) -> None:
        """Set the status, whatever it is, and exactly these headers."""
        self.status_code = status
        self.headers.pop("Content-Type")
        self.repeated = []
        for name, value in headers:
            if name in self.headers:
                self.repeated.append((name, value))
            else:
                self.headers[name] = value

    def items(self) -> Any:  # noqa: ANN401  # pairs, as Django's
        """Return every header as often as the service sent it."""
        return [*self.headers.items(), *self.repeated]


class UpstreamResponse(MultiHeaders, HttpResponse):
    """A service's response, unchanged."""

    def __init__(self, content: bytes, status: int, headers: Headers) -> None:
        super().__init__(content)
        self.take(status, headers)


class StreamingUpstreamResponse(MultiHeaders, StreamingHttpResponse):
    """A service's response as a stream."""

    def __init__(self, response: BlockingResponse, headers: Headers, coding: str | None = None) -> None:
        super().__init__(response.body() if coding is None else codings.compressed_pieces(coding, response.body()))
        self.coding = coding
        self.response = response
        self.take(response.status, headers)
        if not response.needs_thread:
            # The gateway's own server takes these instead, and the thread is free.
            self.pieces_on_loop = self.pieces

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield the content as it comes, on the loop of the connections."""
        pieces = self.response.pieces()
        return pieces if self.coding is None else codings.compressed_stream(self.coding, partial(anext, pieces, b""))

    def close(self) -> None:
        """End the exchange with the service, however much has been sent."""
        super().close()
        self.response.close()


class ResponsePage(MultiHeaders, Response):
    """A page that shows a service's response: its text and all its headers, of which the page sends `sent`.

    With `is_cut` the text is only the beginning. `upstream_status` is the service's, if the page has another: a page
    has content, so it is not 204. It is `None` if no service was asked.
    """

    def __init__(
        self, text: str, status: int, sent: Headers, upstream_headers: Headers, *, is_cut: bool = False
    ) -> None:
        super().__init__(text)
        self.upstream_headers = upstream_headers
        self.is_cut = is_cut
        self.upstream_status: int | None = status
        self.take(200 if status in {204, 205} else status, sent)


def to_response(
    response: BlockingResponse, headers: Headers, method: str, coding: str | None = None
) -> UpstreamResponse | StreamingUpstreamResponse:
    """Return the response, its content in a coding or unchanged: whole if it is small, else as a stream."""
    length = next(iter(values(response.headers, "content-length")), None)
    if method == "HEAD":
        response.close()
        # Django would add a length of 0 to a response to HEAD without one.
        return (
            StreamingUpstreamResponse(response, headers)
            if length is None
            else UpstreamResponse(b"", response.status, headers)
        )
    if response.status in {204, 304} or (length is not None and length.isdigit() and int(length) <= WHOLE):
        content = response.read()
        if coding is not None:
            content = codings.compressed(coding, content)
            headers = [*headers, ("content-length", str(len(content)))]
        return UpstreamResponse(content, response.status, headers)
    return StreamingUpstreamResponse(response, headers, coding)


def forbid_storing(response: HttpResponseBase) -> None:
    """Replace everything about caching by `no-store`."""
    for name in [name for name in response.headers if is_about_storing(name)]:
        del response.headers[name]
    if isinstance(response, MultiHeaders):
        response.repeated = [header for header in response.repeated if not is_about_storing(header[0])]
    response.headers["Cache-Control"] = "no-store"
