"""The three projects as real processes, with their own ports and directory."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.waiting import DEADLINE, wait_until, whole_lines

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ("GATEWAY_WORKERS", "USERS_WORKERS", "ORDERS_WORKERS")


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the condition's first true value; fail after this many seconds, or `DEADLINE` if that is longer."""
    return wait_until(condition, what, max(seconds, DEADLINE))


@dataclass
class Reply:
    """A response: status, headers, body."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)


@dataclass
class Stack:
    """Ports and state of the three projects; `manage_all.sh` starts and stops them.

    Each has one worker unless `environ` says otherwise: with the default number a start costs half as much again.
    """

    var: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {name: free_port() for name in ("gateway", "users", "orders")}
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        self.environ = {
            **inherited,
            **pip,
            "GATEHOUSE_VAR": str(self.var),
            "GATEHOUSE_VENV": sys.prefix,
            **{f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
            **dict.fromkeys(WORKERS, "1"),
            **self.environ,
        }

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `manage_all.sh`; with `check`, fail with its output unless it succeeds."""
        done = subprocess.run(
            [ROOT / "manage_all.sh", *arguments],
            env=self.environ,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert not check or done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
        return done

    def up(self) -> None:
        """Start all three and wait until they are ready."""
        self.manage("up", "-d")

    def down(self) -> None:
        """Stop all three."""
        self.manage("down")

    def processes(self) -> list[str]:
        """Return the command lines of the processes that use this state directory."""
        listed = subprocess.run(["ps", "-ww", "-eo", "args="], capture_output=True, text=True, check=True).stdout
        return [line for line in listed.splitlines() if str(self.var) in line]

    def is_ready(self, name: str) -> bool:
        """Return whether a project responds as ready."""
        try:
            return self.ask("GET", "/readyz" if name == "gateway" else "/healthz", to=name).status == 200
        except OSError:
            return False

    def master(self, name: str) -> int:
        """Return the process id of a project's gunicorn."""
        return int((self.var / "run" / f"{name}.pid").read_text())

    def logs(self, name: str) -> list[dict[str, Any]]:
        """Return a project's log lines."""
        lines = whole_lines(self.var / "logs" / f"{name}.log")
        return [json.loads(line) for line in lines if line.startswith("{")]

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", to: str = "gateway", **headers: str
    ) -> Reply:
        """Send a request and return the response of any status."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[to]}{path}", data, sent, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                return Reply(response.status, response.headers, response.read().decode())
        except urllib.error.HTTPError as response:
            with response:
                return Reply(response.code, response.headers, response.read().decode())

    def login(self, username: str, password: str) -> str:
        """Sign in and return the access token.

        The gateway connects each half second to a users service that was away: until then, sign-ins are rejected.
        """

        def sign_in() -> Reply | None:
            reply = self.ask("POST", "/api/login", {"username": username, "password": password})
            return reply if reply.json.get("code") != "upstream_ejected" else None

        reply = wait_until(sign_in, "the users service gets requests")
        assert reply.status == 200, reply.text
        return str(reply.json["access_token"])
