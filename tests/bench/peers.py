"""The gateways that are measured, each as one process, and nginx behind them: how each is set up and started.

Each checks the same ES256 token, tells the upstream who is asking in `request-user-id`, and writes a line a request.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template
from tempfile import mkdtemp
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from tests.conformance.gateways import APPLICATIONS, PROJECT, Door, free_port

from gateway.identity.key_storage import KeyFiles
from gateway.identity.keys import Key, key_load

from .processes import Server, served

HERE = Path(__file__).parent
# The path of the repeated request, and the beginning of the varied ones: routes with a parameter.
PATH, VARIED = "/api/items/7", "/api/things-"
# Answered by the upstream with the user id that it was told.
WHOAMI = "/api/items/whoami"
BODY = '{"message":"hello, world!"}'
TOKEN_CACHE = "jwt_cache_config: {jwt_cache_size: 1000}"


NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
# Two named limits, which are counted and never reached, and all other policies that need no document of the service.
LIMITS: Final[Mapping[str, Any]] = {
    "per_user": {"rate": "100000/second"},
    "per_address": {"rate": "100000/second", "by": "address"},
}
POLICIES: Final[Mapping[str, Any]] = {
    "rate_limit": ["per_user", "per_address"],
    "cors": {"origins": ["https://app.example.org"], "expose": ["ETag"]},
    "headers": {
        "request": {"set": {"X-Api-Key": "key"}, "remove": ["X-Old"]},
        "response": {"set": {"X-Frame-Options": "DENY"}, "remove": ["Server"]},
    },
    "allow_from": ["127.0.0.0/8"],
    "compress": True,
    "deprecated": {"since": "2026-01-01", "sunset": "2099-01-01", "link": "https://docs.example.org"},
}
# What a service that may fail has, beside two addresses: a credential for it, and all policies for failures.
FAILURES: Final[Mapping[str, Any]] = {
    "headers": {"request": {"set": {"X-Api-Key": "key"}}},
    "timeouts": {"first_byte": "5s"},
    "eject": {"on": ["connect", "reset", "timeout", "5xx"]},
    "health": {"path": "/", "interval": "1s"},
    "retry": {"attempts": 3, "on": ["connect", "reset", 502, 503, 504]},
    "max_in_flight": 500,
    "queue": {"size": 50, "wait": "200ms"},
}


@dataclass(frozen=True)
class Place:
    """What the gateways of one run share: `installed` has their packages, `pin` goes in front of their commands."""

    directory: Path
    installed: Path
    upstream_port: int
    key_file: Path
    pin: tuple[str, ...]

    @cached_property
    def key(self) -> Key:
        """The pair that signs and checks the tokens."""
        return key_load(KeyFiles(self.key_file.parent), self.key_file.stem)

    @property
    def upstream(self) -> str:
        """Where nginx is."""
        return self.addresses(1)[0]

    def addresses(self, count: int) -> list[str]:
        """Return so many addresses of nginx, of two."""
        return [f"http://127.0.0.{number}:{self.upstream_port}" for number in range(1, count + 1)]

    @cached_property
    def public_key_file(self) -> Path:
        """The public key, as PEM."""
        path = self.directory / "public.pem"
        public = self.key.private.public_key()
        path.write_bytes(
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return path

    def own(self, name: str) -> Path:
        """Return a directory for one gateway's files."""
        return Path(mkdtemp(prefix=f"{name}-", dir=self.directory))


@dataclass(frozen=True)
class Peer:
    """A gateway to measure: `name` on the command line, `title` in the report, and the program that it needs."""

    name: str
    title: str
    start: Callable[[Place], AbstractContextManager[Server]]
    needs: str = ""


def nginx(place: Place) -> AbstractContextManager[Server]:
    """Start the upstream."""
    own = place.own("nginx")
    config = own / "nginx.conf"
    template = Template((HERE / "nginx.conf").read_text())
    ports = {"port": place.upstream_port, "inner_port": free_port()}
    config.write_text(template.substitute(directory=own, whoami=WHOAMI, body=BODY, **ports))
    command = ["nginx", "-p", str(own), "-e", "stderr", "-c", str(config)]
    return served(command, place.upstream_port, own / "log")


def envoy(token_cache: str = TOKEN_CACHE, threads: int = 1) -> Callable[[Place], AbstractContextManager[Server]]:
    """Return what starts Envoy with jwt_authn; `token_cache` is its setting for that, or empty."""

    def start(place: Place) -> AbstractContextManager[Server]:
        own, port = place.own("envoy"), free_port()
        config = own / "envoy.yaml"
        config.write_text(
            Template((HERE / "envoy.yaml").read_text()).substitute(
                port=port,
                upstream_port=place.upstream_port,
                access_log=own / "access.log",
                token_cache=token_cache,
                jwks=json.dumps({"keys": [place.key.jwk()]}),
            )
        )
        # The program itself: what the package puts on the path is a Python script around it.
        (program,) = place.installed.glob("venv/lib/python3*/site-packages/envoy/_bin/envoy")
        command = [*place.pin, str(program), "-c", str(config), "--concurrency", str(threads), "--disable-hot-restart"]
        return served([*command, "--log-level", "warn"], port, own / "log")

    return start


def node(script: str, place: Place, port: int, **environ: str) -> tuple[list[str], dict[str, str]]:
    """Return command and environment of a program on Fastify."""
    own = {"NODE_ENV": "production", "PORT": str(port), "PUBLIC_KEY": str(place.public_key_file)}
    return [*place.pin, "node", str(place.installed / "fastify" / script)], own | environ


def fastify(place: Place) -> AbstractContextManager[Server]:
    """Start Fastify with @fastify/http-proxy and @fastify/jwt."""
    own, port = place.own("fastify"), free_port()
    command, environ = node("gateway.js", place, port, ACCESS_LOG=str(own / "access.log"), UPSTREAM=place.upstream)
    return served(command, port, own / "log", environ)


def nginx_gateway(place: Place) -> AbstractContextManager[Server]:
    """Start nginx with auth_request, and the service that checks its tokens."""
    own, port, auth_port = place.own("nginx-gateway"), free_port(), free_port()
    config = own / "nginx.conf"
    config.write_text(
        Template((HERE / "nginx-gateway.conf").read_text()).substitute(
            directory=own,
            port=port,
            auth_port=auth_port,
            upstream_port=place.upstream_port,
            # Without it, a worker of root's could not write its cache here.
            user="user root;" if os.geteuid() == 0 else "",
        )
    )
    auth, environ = node("auth.js", place, auth_port)
    command = [*place.pin, "nginx", "-p", str(own), "-e", "stderr", "-c", str(config)]
    # In one session, so that the CPU time is that of both.
    both = f"{shlex.join(auth)} & exec {shlex.join(command)}"
    return served(["sh", "-c", both], port, own / "log", environ)


def fastapi(kind: str) -> Callable[[Place], AbstractContextManager[Server]]:
    """Return what starts the FastAPI gateway in `fastapi_KIND.py`, under uvicorn with its fast parts."""

    def start(place: Place) -> AbstractContextManager[Server]:
        own, port = place.own(f"fastapi-{kind}"), free_port()
        public = own / "public.json"
        public.write_text(json.dumps(place.key.jwk()))
        uvicorn = [*place.pin, str(place.installed / "venv/bin/python"), "-m", "uvicorn", "--app-dir", str(HERE)]
        options = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
        command = [*uvicorn, *options, f"fastapi_{kind}:app"]
        return served(command, port, own / "log", {"PUBLIC_JWK": str(public), "UPSTREAM": place.upstream})

    return start


def gatehouse(
    door: Door,
    routes: int = 10,
    workers: int = 1,
    project: Path = PROJECT,
    policies: Mapping[str, Any] = NOTHING,
    limits: Mapping[str, Any] = NOTHING,
    service: Mapping[str, Any] = NOTHING,
    addresses: int = 1,
    settings: Mapping[str, str] = NOTHING,
) -> Callable[[Place], AbstractContextManager[Server]]:
    """Return what starts this gateway at one of its doors, with that many routes, and these policies beside.

    `policies` are those of the routes, `service` is what their service has beside its addresses.
    """
    items: dict[str, Any] = {
        "methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
        "service": "items",
        "allow": "authenticated",
        # Counted with every request, and never reached.
        "rate_limit": "100000/second",
        "max_body": "1MiB",
        **policies,
    }
    paths = ["/api/items/{id}", *(f"{VARIED}{number}/{{id}}" for number in range(routes - 1))]

    @contextmanager
    def start(place: Place) -> Iterator[Server]:
        own, port = place.own(door), free_port()
        keys = own / "gateway" / "keys"
        keys.mkdir(parents=True)
        shutil.copy(place.key_file, keys)
        config = own / "gateway.yaml"
        routed = [{"path": path, **items} for path in paths]
        # JSON is YAML.
        services = {"items": {"url": place.addresses(addresses), **service}}
        content = {"version": 1, "services": services, "versions": {"current": "v1"}, "routes": routed}
        config.write_text(json.dumps(content | ({"limits": limits} if limits else {})))
        environ = {
            "GATEHOUSE_VAR": str(own),
            "GATEWAY_CONFIG": str(config),
            "GATEWAY_PORT": str(port),
            "GATEWAY_WORKERS": str(workers),
            # An installed chassis is that of one checkout.
            "PYTHONPATH": str(project.parent / "chassis" / "src"),
            **settings,
        }
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=project, env=os.environ | environ, check=True)
        command = [*place.pin, sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *APPLICATIONS[door]]
        with served(command, port, own / "gateway.log", environ, project) as server:
            yield server

    return start


PEERS = (
    Peer("envoy", "Envoy, jwt_authn", envoy()),
    Peer("envoy-uncached", "Envoy, no token cache", envoy("")),
    Peer("nginx", "nginx, auth_request", nginx_gateway, needs="node"),
    Peer("fastify", "Fastify, http-proxy and jwt", fastify, needs="node"),
    Peer("fastapi-aiohttp", "FastAPI and aiohttp", fastapi("aiohttp")),
    Peer("fastapi-httpx", "FastAPI and HTTPX", fastapi("httpx")),
    Peer("drf", "Gatehouse, DRF door", gatehouse("drf")),
    Peer("fast", "Gatehouse, fast door", gatehouse("fast")),
    Peer("fast-1000", "Gatehouse, fast door, 1,000 routes and 10,000 users", gatehouse("fast", 1000)),
)
# On all cores, beside the load program.
SCALED = (
    Peer("fast-1", "Gatehouse, one worker", gatehouse("fast")),
    Peer("fast-2", "Gatehouse, two workers", gatehouse("fast", workers=2)),
    Peer("envoy-1", "Envoy, one thread", envoy()),
    Peer("envoy-2", "Envoy, two threads", envoy(threads=2)),
)
