"""Bodies, within their bound."""

import io
from typing import Any

import pytest

from gateway import bodies
from gateway.policy.refusals import BadRequest, Refused, TooLarge


def environ(content: bytes, **said: Any) -> dict[str, Any]:
    return {"wsgi.input": io.BytesIO(content), **said}


CHUNKED: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


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
    assert bodies.read(environ(content, **said), 10) == expected


@pytest.mark.parametrize(
    ("content", "said", "refused"),
    [
        (b"x" * 11, {"CONTENT_LENGTH": "11"}, TooLarge),
        (b"", {"CONTENT_LENGTH": "9" * 5000}, TooLarge),
        (b"x" * 11, CHUNKED, TooLarge),
        (b"x" * 11, {"HTTP_TRANSFER_ENCODING": "chunked"}, bodies.LengthRequired),
        (b"x", {"CONTENT_LENGTH": "-1"}, BadRequest),
        (b"x", {"CONTENT_LENGTH": "1_0"}, BadRequest),
        (b"x", {"CONTENT_LENGTH": "٣"}, BadRequest),
        (b"x", {"CONTENT_LENGTH": "5"}, BadRequest),
    ],
)
def test_any_other_body_is_refused(content: bytes, said: dict[str, Any], refused: type[Refused]) -> None:
    with pytest.raises(refused):
        bodies.read(environ(content, **said), 10)


def test_no_more_than_one_byte_beyond_the_bound_is_read() -> None:
    stream = io.BytesIO(b"x" * 1000)
    with pytest.raises(TooLarge):
        bodies.read({"wsgi.input": stream, **CHUNKED}, 10)
    assert stream.tell() == 11
