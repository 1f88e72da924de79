"""What the gateway's worker relies on in gunicorn, beyond what that documents; test_stopping.py shows that it works."""

import inspect
import re
from importlib.metadata import version
from pathlib import Path

from gunicorn.workers import base, gasgi

from gateway.proxy.worker import Worker

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
    assert inspect.iscoroutinefunction(gasgi.ASGIWorker._shutdown)
    assert inspect.getsource(gasgi.ASGIWorker.init_process).count("self._") == 1
    assert "self.run()" in inspect.getsource(base.Worker.init_process)
