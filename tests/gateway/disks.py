"""A small disk for tests that fill it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

SIZE = 8 * 1024 * 1024
BLOCK = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB. Only root may mount it, and not in every container."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", place],
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


def fill(ballast: Path, free: int = 0) -> None:
    """Fill the disk to its last block, or leave that many bytes free."""
    with ballast.open("wb") as file:
        with suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(BLOCK))
        file.truncate(ballast.stat().st_size - free)
