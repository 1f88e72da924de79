"""One project of Compose, under a name and a port of its own. Needs an engine with Compose."""

import ast
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
IMAGES = Path(__file__).parent / "images"
# Servers of compose.scale.yaml, and Debian's packages of them.
PACKAGES = {"caddy": "caddy", "postgres": "postgresql", "valkey": "valkey-server"}
STAND_IN = "gatehouse-test-servers"
# Others may name files, which a build lacks.
SETTINGS_OF_PIP = {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries"}


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=900)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def images() -> dict[str, str]:
    """Return the variables that name another image, for each server whose image no registry has.

    Debian's packages of these servers, on the base of Dockerfile, stand in.
    """
    scale = (ROOT / "compose.scale.yaml").read_text()
    base = re.search(r"^ARG BASE=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    missing = {}
    for name, package in PACKAGES.items():
        variable = f"{name.upper()}_IMAGE"
        (image,) = re.findall(rf"\$\{{{variable}:-(.+)\}}", scale)
        if not docker("image", "ls", "--quiet", image) and not docker("pull", "--quiet", image, check=False):
            missing[variable] = package
    if missing:
        arguments = ["--build-arg", f"BASE={base[1]}", "--build-arg", f"PACKAGES={' '.join(missing.values())}"]
        docker("build", "--quiet", "--tag", STAND_IN, *arguments, str(IMAGES))
    return dict.fromkeys(missing, STAND_IN)


def pip_variables(folder: Path) -> dict[str, str]:
    """Return the variables by which compose.yaml gives builds the settings of this machine's pip."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    settings = {}
    # Those of the environment are the last.
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = str(ast.literal_eval(value)).replace("\n", " ")
    lines = [f"{name} = {value}\n" for name, value in settings.items() if name in SETTINGS_OF_PIP]
    path = folder / "pip.conf"
    path.write_text("".join(["[global]\n", *lines]))
    return {"PIP_CONFIG_FILE": str(path), "PIP_CERT": settings.get("cert", "")}


class Containers:
    """The containers of these files of Compose. `url` is where clients send requests."""

    def __init__(self, name: str, subnet: str, *files: str, **environ: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tls: ssl.SSLContext | None = None
        self.files = [argument for file in files for argument in ("--file", file)]
        self.project = f"gatehouse-{name}-{os.getpid()}"
        own = {"COMPOSE_PROJECT_NAME": self.project, "GATEHOUSE_SUBNET": subnet}
        self.environ = os.environ | own | environ | {"GATEWAY_PORT": str(self.port), "EDGE_PORT": str(self.port)}

    def compose(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", *self.files, *arguments],
            cwd=ROOT, env=self.environ, check=False, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ids(self, service: str) -> list[str]:
        """Return the ids of a service's containers."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        (found,) = json.loads(docker("inspect", container))
        return dict(found)

    def is_healthy(self, container: str) -> bool:
        return bool(self.inspect(container)["State"]["Health"]["Status"] == "healthy")

    def ask(
        self, path: str, body: object = None, token: str = "", *, method: str = "", url: str = "", **headers: str
    ) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of its response."""
        request = urllib.request.Request(f"{url or self.url}{path}", method=method or None)
        # A container's address is not one of GATEWAY_ALLOWED_HOSTS.
        request.add_header("Host", f"localhost:{self.port}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=90, context=self.tls) as response:
                return response.status, json.loads(response.read() or "null")
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text.startswith(b"{") else text

    def login(self, username: str, password: str, url: str = "") -> dict[str, Any]:
        status, answer = self.ask("/api/login", {"username": username, "password": password}, url=url)
        assert status == 200, answer
        return dict(answer)

    def token(self, username: str, password: str, url: str = "") -> str:
        return str(self.login(username, password, url)["access_token"])

    def is_ready(self, url: str = "") -> bool:
        try:
            status, answer = self.ask("/readyz", url=url)
        except OSError:
            return False
        return status == 200 and all("ok" in str(each) for each in answer["services"].values())
