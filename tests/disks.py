"""A small disk for tests that fill it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BLOCK = 4096


@contextmanager
def small_disk(place: Path, mib: int = 8) -> Iterator[Path]:
    """Mount a small disk there. Only root may, and not in every container: otherwise the test is skipped."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}M,mode=0700", "tmpfs", place],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"needs a small disk, and cannot mount one: {done.stderr.strip()}")
    try:
        yield place
    finally:
        # Lazily: a test that fails may leave a file open.
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(ballast: Path, blocks: int = 0) -> None:
    """Fill the disk with a file, but for that many blocks."""
    with ballast.open("wb") as file:
        with suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(BLOCK))
        file.truncate(ballast.stat().st_size - blocks * BLOCK)
