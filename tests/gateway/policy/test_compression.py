"""Content codings: which one a client takes, and that a large piece holds up nothing else."""

import asyncio
import os
import zlib

import pytest

from gateway.policy import codings
from gateway.policy.codings import COMPRESSORS, compressed, compressed_stream, preferred

FIRST = next(iter(COMPRESSORS))


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP ; Q=0.5", "gzip"),
        ("gzip, deflate", "gzip"),
        ("deflate, compress", None),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("gzip;q=1.000", "gzip"),
        ("identity", None),
        ("identity, gzip;q=0.9", None),
        ("identity;q=0.9, gzip;q=0.9", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("*", FIRST),
        ("*;q=0", None),
        ("gzip;q=1, *;q=0.5", "gzip"),
        ("gzip;q=0.5, *", FIRST if FIRST != "gzip" else "gzip"),
        ("*;q=0, gzip;q=0.1", "gzip"),
        # A weight that is not valid is not a coding that the client takes.
        ("gzip;q=2", None),
        ("gzip;q=-1", None),
        ("gzip;q=", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=nan", None),
        (",, gzip ,", "gzip"),
        ("gzip;level=9", "gzip"),
    ],
)
def test_the_coding_that_a_client_takes(accept: str, coding: str | None) -> None:
    assert preferred(accept) == coding


@pytest.mark.parametrize("coding", COMPRESSORS)
def test_each_coding_is_used_where_it_weighs_most(coding: str) -> None:
    others = ", ".join(f"{name};q=0.5" for name in COMPRESSORS if name != coding)
    assert preferred(f"{others}, {coding};q=0.6") == coding


def test_of_equal_codings_the_cheapest_is_used() -> None:
    assert preferred("gzip, deflate, br, zstd") == FIRST


def test_gzip_has_its_header_and_checksum() -> None:
    content = b"content" * 1000
    assert zlib.decompress(compressed("gzip", content), 31) == content


@pytest.mark.parametrize("coding", COMPRESSORS)
def test_the_event_loop_runs_between_the_steps_of_a_large_piece(coding: str) -> None:
    pieces = iter([os.urandom(32 * codings.STEP)])

    async def next_piece() -> bytes:
        return next(pieces, b"")

    async def turns() -> int:
        loop, count, ended = asyncio.get_running_loop(), 0, False

        def turn() -> None:
            nonlocal count
            count += 1
            if not ended:
                loop.call_soon(turn)

        loop.call_soon(turn)
        async for _ in compressed_stream(coding, next_piece):
            pass
        ended = True
        return count

    assert asyncio.run(turns()) >= 31
