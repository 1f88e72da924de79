"""One running stack for all system tests."""

from collections.abc import Iterator

import pytest
from tests.system.stack import WORKERS, Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A ready stack with several workers. A process that still runs at the end is a failure."""
    running = Stack(tmp_path_factory.mktemp("var"), dict.fromkeys(WORKERS, "2"))
    try:
        running.up()
        yield running
    finally:
        running.down()
    assert running.processes() == []
