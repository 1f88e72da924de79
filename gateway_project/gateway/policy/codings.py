"""Compressors for content codings, and which of them a client takes (RFC 9110, section 12.5.3).

Python has gzip. `br` and `zstd` are in the packages `brotli` and `backports.zstd`, and from Python 3.14 `zstd` is in
the standard library; a coding whose package is missing is not offered. The levels are those at which each coding
compresses JSON to about a quarter with the least CPU, and windows are small: a worker may have many streams.
"""

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module
from types import ModuleType
from typing import Final, NamedTuple

# Bytes that are compressed at once: with the slowest coding less than a millisecond, so no request waits longer.
STEP: Final = 32 * 1024
GZIP_LEVEL: Final = 4
# The window of 32 KiB, with the header and the checksum of gzip.
GZIP_WINDOW: Final = 31
BROTLI_LEVEL: Final = 3
ZSTD_LEVEL: Final = 3
# The windows of both, as a power of two: 128 KiB.
WINDOW: Final = 17
WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
ALIASES: Final = {"x-gzip": "gzip"}


class Compressor(NamedTuple):
    """Compresses one body. `compress` may keep bytes back; `flush` returns them, and `finish` also ends the body."""

    compress: Callable[[bytes], bytes]
    flush: Callable[[], bytes]
    finish: Callable[[], bytes]


def installed(*names: str) -> ModuleType | None:
    """Return the first of these modules that is installed."""
    for name in names:
        with suppress(ImportError):
            return import_module(name)
    return None


BROTLI: Final = installed("brotli")
ZSTD: Final = installed("compression.zstd", "backports.zstd")


def gzip() -> Compressor:
    made = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    return Compressor(made.compress, partial(made.flush, zlib.Z_SYNC_FLUSH), made.flush)


def brotli(module: ModuleType) -> Compressor:
    made = module.Compressor(quality=BROTLI_LEVEL, lgwin=WINDOW)
    return Compressor(made.process, made.flush, made.finish)


def zstd(module: ModuleType) -> Compressor:
    parameter = module.CompressionParameter
    options = {parameter.compression_level: ZSTD_LEVEL, parameter.window_log: WINDOW}
    made = module.ZstdCompressor(options=options)
    return Compressor(made.compress, partial(made.flush, made.FLUSH_BLOCK), partial(made.flush, made.FLUSH_FRAME))


# By name, the one that takes the least CPU first: of codings that a client takes equally, the first is used.
COMPRESSORS: Final[dict[str, Callable[[], Compressor]]] = {
    **({"zstd": partial(zstd, ZSTD)} if ZSTD else {}),
    **({"br": partial(brotli, BROTLI)} if BROTLI else {}),
    "gzip": gzip,
}


@lru_cache(256)
def preferred(accept: str) -> str | None:
    """Return the coding for a value of `Accept-Encoding`, `None` for the content as it is."""
    weights: dict[str, float] = {}
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip(" \t") for part in entry.split(";"))
        weights[ALIASES.get(name, name)] = weight_of(parameters)
    found = {name: weights.get(name, weights.get("*", 0.0)) for name in COMPRESSORS}
    best = max(found, key=lambda name: found[name])
    return best if found[best] > 0 and found[best] >= weights.get("identity", 0.0) else None


def weight_of(parameters: list[str]) -> float:
    """Return the weight of an entry; an invalid one is 0, as the client may not take the coding."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip(" \t") == "q":
            value = value.strip(" \t")
            return float(value) if WEIGHT.fullmatch(value) else 0.0
    return 1.0


def compressed(coding: str, content: bytes) -> bytes:
    made = COMPRESSORS[coding]()
    return made.compress(content) + made.finish()


def compressed_pieces(coding: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a body in the coding. Each piece is sent before the next one comes."""
    made = COMPRESSORS[coding]()
    for piece in pieces:
        yield made.compress(piece) + made.flush()
    yield made.finish()


async def compressed_stream(coding: str, next_piece: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    """Yield the same on an event loop, which runs what else is ready after each step of a large piece.

    `next_piece` returns nothing at the body's end.
    """
    made = COMPRESSORS[coding]()
    while piece := await next_piece():
        for start in range(0, len(piece), STEP):
            if start:
                await asyncio.sleep(0)
            part = made.compress(piece[start : start + STEP])
            if start + STEP >= len(piece):
                part += made.flush()
            if part:
                yield part
    yield made.finish()
