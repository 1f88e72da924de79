"""What the gateway's worker relies on in gunicorn, beyond what that documents; test_stopping.py shows that it works."""

import asyncio
import inspect
import logging
import os
import queue
import re
import socket
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gunicorn.config import Config
from gunicorn.workers import base, gasgi
from tests.gateway.runtimes import runtime
from tests.gateway.upstreams.origin import until
from tests.waiting import DEADLINE

from gateway.proxy.client import ClientConnection
from gateway.proxy.master import Master
from gateway.proxy.worker import Loop, Worker

ROOT = Path(__file__).parents[3]


def test_gunicorn_is_the_version_that_was_looked_at() -> None:
    pinned = re.search(r"^gunicorn==(\S+)", (ROOT / "requirements" / "gateway.txt").read_text(), re.MULTILINE)
    assert pinned
    assert version("gunicorn") == pinned[1] == "27.0.1"


def test_the_worker_replaces_one_private_method_of_gunicorn_s() -> None:
    private = {name for name in vars(Worker) if name.startswith("_") and not name.startswith("__")}
    assert private == {"_shutdown"}


def test_gunicorn_s_worker_serves_and_stops_as_the_gateway_s_expects() -> None:
    serve = inspect.getsource(gasgi.ASGIWorker._serve)
    # Through the loop that `init_process` sets, and through the method that is replaced.
    assert "await self.loop.create_server(" in serve
    assert "await self._shutdown()" in serve
    # A cancellation ends its wait for the next heartbeat, and nothing else.
    beats = r"while self\.alive:\n.*await asyncio\.sleep\(1\.0\)\n\n"
    assert re.search(beats + r" +except asyncio\.CancelledError:\n +pass\n", serve, re.DOTALL)
    assert inspect.iscoroutinefunction(gasgi.ASGIWorker._shutdown)
    assert inspect.getsource(gasgi.ASGIWorker.init_process).count("self._") == 1
    assert "self.run()" in inspect.getsource(base.Worker.init_process)


class Application:
    """Only starts and stops."""

    def __init__(self) -> None:
        self.runtime = runtime()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})


def serve_and_stop() -> None:
    """Run a worker, and tell it to stop as soon as it serves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sockets = [SimpleNamespace(sock=listener)]
        worker = Worker(1, os.getppid(), sockets, None, 60, Config(), logging.getLogger("gunicorn.error"))
        worker.connections, worker.asgi = set(), Application()
        worker.loop = Loop(lambda: ClientConnection(worker), 10)

        async def run() -> None:
            serving = asyncio.create_task(worker._serve())
            await until(lambda: worker.servers)
            worker.handle_exit_signal()
            async with asyncio.timeout(DEADLINE):
                await serving

        try:
            worker.loop.run_until_complete(run())
        finally:
            worker.loop.close()
            worker.tmp.close()


def test_a_stop_does_not_wait_for_the_next_heartbeat() -> None:
    began = time.monotonic()
    for _ in range(10):
        serve_and_stop()
    # Each heartbeat comes a second after the last.
    assert time.monotonic() - began < 8


def test_the_master_looks_often_for_new_workers_that_serve() -> None:
    master = Master.__new__(Master)
    master.SIG_QUEUE, master.watched, master.announced = queue.SimpleQueue(), None, False
    began = time.monotonic()
    for _ in range(10):
        assert master.wait_for_signals() == []
    # Otherwise it looks once a second.
    assert time.monotonic() - began < 8
