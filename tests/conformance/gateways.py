"""A gateway as a real process, at one of its two doors, for tests that use only HTTP."""

import atexit
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.ports import free_port
from tests.processes import children, measured
from tests.waiting import wait_until, whole_lines

PROJECT = Path(__file__).resolve().parents[2] / "gateway_project"

Door = Literal["fast", "drf"]
DOORS: tuple[Door, ...] = ("fast", "drf")
# gunicorn's arguments: the fast door as deployed, the DRF door as under any WSGI server.
APPLICATIONS: dict[Door, list[str]] = {
    "fast": ["gateway_project.asgi"],
    "drf": ["-k", "gthread", "--threads", "32", "gateway_project.wsgi"],
}
STARTS_WITHIN = 60
STOPS_WITHIN = 60


@dataclass
class Gateway:
    """One running gateway: `config` is its gateway.yaml, `var` its state. Use it as a context manager."""

    door: Door
    var: Path
    config: dict[str, Any]
    workers: int = 1
    environ: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    # In front of gunicorn, such as `taskset -c 1`.
    wrapper: tuple[str, ...] = ()
    # Whether coverage measures its processes too: not if a test is about times and sizes.
    measured: bool = True

    def __post_init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.var / "gateway.log"

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of gunicorn's master."""
        assert self.process
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return children(self.pid)

    def __enter__(self) -> Self:
        self.var.mkdir(parents=True, exist_ok=True)
        path = self.var / "gateway.yaml"
        # JSON is YAML.
        path.write_text(json.dumps({"version": 1, "services": {}, "routes": []} | self.config))
        environ = {
            **os.environ,
            "GATEHOUSE_VAR": str(self.var),
            "GATEWAY_CONFIG": str(path),
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_WORKERS": str(self.workers),
            **self.environ,
        }
        if "GATEWAY_DATABASE_URL" in environ or "DATABASE_URL" in environ:
            migrate(environ)
        elif not (self.var / "gateway").exists():
            shutil.copytree(migrated_state(), self.var / "gateway")
        command = [*self.wrapper, sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *APPLICATIONS[self.door]]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=environ | (measured() if self.measured else {}), start_new_session=True,
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def wait_until_it_answers(self) -> None:
        """Return once /healthz is 200."""
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            assert self.process
            assert self.process.poll() is None, self.log.read_text()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if connection.recv(12) == b"HTTP/1.1 200":
                        return
            except OSError:
                pass
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def reload(self) -> None:
        """Start new workers and let the old ones finish: `kill -USR1`."""
        os.kill(self.pid, signal.SIGUSR1)

    def take_up(self) -> None:
        """Have the workers take up gateway.yaml: `kill -HUP`."""
        os.kill(self.pid, signal.SIGHUP)

    def stop(self) -> None:
        """Stop it, by force if it does not stop in time."""
        assert self.process
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOPS_WITHIN)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                raise

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the log as far as it is written, parsed. A line may come later than its request's response."""
        return [json.loads(line) for line in whole_lines(self.log) if line.startswith("{")]

    def wait_for_lines(self, *request_ids: str | None) -> list[dict[str, Any]]:
        """Return the access log's lines of these requests, once all of them are written."""

        def lines() -> dict[str, dict[str, Any]]:
            return {line["request_id"]: line for line in self.log_lines() if line.get("logger") == "access"}

        wait_until(lambda: lines().keys() >= set(request_ids), f"lines of {request_ids[:3]} in the access log")
        found = lines()
        return [found[str(request_id)] for request_id in request_ids]

    def signing_key(self) -> tuple[str, ec.EllipticCurvePrivateKey]:
        """Return the gateway's key, and its id."""
        (path,) = (self.var / "gateway" / "keys").glob("*.pem")
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return path.stem, key

    def claims(self, user_id: str = "2", role: str = "default", ttl: int = 900, **claims: Any) -> dict[str, Any]:
        """Return the claims of a valid access token, with the given ones instead; `None` leaves one out."""
        now = int(time.time())
        made = {
            "iss": "gatehouse",
            "sub": user_id,
            "username": f"user{user_id}",
            "role": role,
            "sid": uuid4().hex,
            "jti": uuid4().hex,
            "iat": now,
            "exp": now + ttl,
            "token_type": "access",
        } | claims
        return {name: value for name, value in made.items() if value is not None}

    def token(self, user_id: str = "2", role: str = "default", ttl: int = 900, **claims: Any) -> str:
        """Return an access token of those claims, signed with the gateway's own key."""
        kid, key = self.signing_key()
        return jwt.encode(self.claims(user_id, role, ttl, **claims), key, "ES256", {"kid": kid})


def migrate(environ: Mapping[str, str]) -> None:
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=PROJECT, env=environ, check=True)


@functools.cache
def migrated_state() -> Path:
    """Return a gateway's state directory with an empty database, for copies: to migrate takes a second each time."""
    var = Path(tempfile.mkdtemp(prefix="gatehouse-"))
    atexit.register(shutil.rmtree, var, ignore_errors=True)
    migrate(os.environ | {"GATEHOUSE_VAR": str(var)})
    return var / "gateway"
