"""A port refuses connections until the application behind it is loaded, so that no request waits for that."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.ports import free_port
from tests.processes import ROOT, ask
from tests.waiting import DEADLINE, wait_until

HELD = """
import os, time
from pathlib import Path

Path(f"loading-{os.getpid()}").touch()
while not Path("released").exists():
    time.sleep(0.01)
from PROJECT_project.INTERFACE import application
"""


@contextmanager
def started(project: str, interface: str, folder: Path) -> Iterator[int]:
    """gunicorn, whose two workers load the application once the file `released` is in the folder."""
    port, name, own = free_port(), project.upper(), ROOT / f"{project}_project"
    (folder / "held.py").write_text(HELD.replace("PROJECT", project).replace("INTERFACE", interface))
    environ = {
        f"{name}_PORT": str(port),
        f"{name}_WORKERS": "2",
        "GATEHOUSE_VAR": str(folder),
        "DJANGO_SETTINGS_MODULE": f"{project}_project.settings",
        "PYTHONPATH": os.pathsep.join((str(folder), str(own), os.environ.get("PYTHONPATH", ""))),
    }
    migrate = [sys.executable, str(own / "manage.py"), "migrate", "--verbosity", "0"]
    subprocess.run(migrate, env=os.environ | environ, check=True)
    worker = [] if project != "gateway" or interface == "asgi" else ["--worker-class", "gthread"]
    command = [sys.executable, "-m", "gunicorn", "-c", str(own / "gunicorn.conf.py"), *worker, "held:application"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)


@pytest.mark.parametrize(
    ("project", "interface"), [("users", "wsgi"), ("orders", "wsgi"), ("gateway", "asgi"), ("gateway", "wsgi")]
)
def test_a_port_refuses_connections_until_the_application_is_loaded(
    project: str, interface: str, tmp_path: Path
) -> None:
    with started(project, interface, tmp_path) as port:
        wait_until(lambda: len(list(tmp_path.glob("loading-*"))) == 2, "the workers load")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), DEADLINE)
        (tmp_path / "released").touch()
        wait_until(lambda: ask(port, "/healthz")[0], "it serves")
