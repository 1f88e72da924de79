"""A Django service learns how long the gateway waits for its response."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.client import once
from tests.conformance.gateways import DOORS, Door, Gateway, free_port
from tests.conformance.wire import ask
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
FORGED = "X-Envoy-Expected-Rq-Timeout-Ms: 99000"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The chassis' own test service, as a process; its port."""
    port = free_port()
    paths = os.pathsep.join(str(ROOT / "chassis" / name) for name in ("src", "tests"))
    log = tmp_path_factory.mktemp("shop") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "runserver", "--noreload", str(port)],
            env={**os.environ, "PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": "shop.settings"},
            stdout=out,
            stderr=out,
        )
    try:
        wait_until(lambda: answers(port), f"the shop answers: {log}")
        yield port
    finally:
        process.terminate()
        process.wait(60)


def answers(port: int) -> bool:
    try:
        return once(port, ask("GET /time-left")).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("door", DOORS)
def test_a_service_learns_how_long_the_gateway_waits(door: Door, shop: int, tmp_path: Path) -> None:
    config = {
        "services": {"shop": {"url": f"http://127.0.0.1:{shop}", "timeouts": {"total": "30s"}}},
        "routes": [{"path": "/time-left", "service": "shop", "allow": "public"}],
    }
    with Gateway(door, tmp_path / "var", config) as gateway:
        for headers in [], [FORGED]:
            reply = once(gateway.port, ask("GET /time-left", *headers))
            assert 20 < reply.json()["time_left"] <= 30
    assert once(shop, ask("GET /time-left")).json() == {"time_left": None}
