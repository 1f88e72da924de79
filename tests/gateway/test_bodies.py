"""Bodies, within their bound."""

import io
from typing import Any

import pytest

from gateway import bodies
from gateway.policy.rejections import BadRequest, ContentTooLarge, RequestRejected


def environ(content: bytes, **said: Any) -> dict[str, Any]:
    return {"wsgi.input": io.BytesIO(content), **said}


CHUNKED: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


def whole(environ: dict[str, Any], limit: int = 10) -> bytes:
    stream = bodies.Stream(environ["wsgi.input"], bodies.check_length(environ, limit))
    return b"".join(iter(lambda: stream.read(4), b""))


@pytest.mark.parametrize(
    ("content", "said", "expected"),
    [
        (b"", {}, b""),
        (b"abc", {"CONTENT_LENGTH": ""}, b""),
        (b"abcdef", {"CONTENT_LENGTH": "3"}, b"abc"),
        (b"abc", {"CONTENT_LENGTH": "0003"}, b"abc"),
        (b"x" * 10, {"CONTENT_LENGTH": "10"}, b"x" * 10),
        (b"x" * 10, CHUNKED, b"x" * 10),
    ],
)
def test_a_body_within_its_bound_is_read(content: bytes, said: dict[str, Any], expected: bytes) -> None:
    assert whole(environ(content, **said)) == expected


@pytest.mark.parametrize(
    ("content", "said", "refused"),
    [
        (b"x" * 11, {"CONTENT_LENGTH": "11"}, ContentTooLarge),
        (b"", {"CONTENT_LENGTH": "9" * 5000}, ContentTooLarge),
        (b"x" * 11, {"HTTP_TRANSFER_ENCODING": "chunked"}, bodies.LengthRequired),
        (b"x", {"CONTENT_LENGTH": "-1"}, BadRequest),
        (b"x", {"CONTENT_LENGTH": "1_0"}, BadRequest),
        (b"x", {"CONTENT_LENGTH": "٣"}, BadRequest),
        (b"x", {"CONTENT_LENGTH": "5"}, BadRequest),
    ],
)
def test_a_body_over_its_bound_is_rejected(
    content: bytes, said: dict[str, Any], refused: type[RequestRejected]
) -> None:
    with pytest.raises(refused):
        whole(environ(content, **said))


def test_nothing_is_read_beyond_the_end() -> None:
    stream = io.BytesIO(b"x" * 1000)
    assert whole({"wsgi.input": stream, "CONTENT_LENGTH": "10"}) == b"x" * 10
    assert stream.tell() == 10
