"""Liveness, and readiness: whether the gateway, with what it needs itself, can serve.

A service that is down is listed and is no reason to take the gateway out of rotation: all other routes still work. The
login service is one of the gateway's own needs.
"""

import asyncio
import json
from contextlib import suppress
from functools import cache
from typing import Any, Final

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse

from gateway import configuration, draining
from gateway.config import Service, Timeouts
from gateway.identity import keys
from gateway.identity.revocations import revocations
from gateway.policy.headers import Headers
from gateway.policy.rejections import RequestRejected, UpstreamError
from gateway.upstreams import SingleFlight, fetch, upstreams

from .middleware import DATA_HEADERS

# Seconds that a service's health check may take, and for which its result is everyone's.
LIMIT: Final = 1.0
TIMEOUTS: Final = Timeouts().model_copy(update={"connect": LIMIT, "total": LIMIT})
FRESH: Final = 1.0
LIVE: Final = {"status": "ok", "service": "gateway"}
GOOD: Final = frozenset({"ok", "stale", "unknown"})


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200: the process serves. It asks nobody: a service that is away is no reason to restart the gateway."""
    return JsonResponse(LIVE)


async def service_state(name: str, service: Service) -> str:
    """Return `ok` if the service's health path answers 2xx, else what is wrong; `unknown` without a health path."""
    if service.health is None:
        return "unknown"
    try:
        answer = await fetch(upstreams().pools, name, service.health, timeouts=TIMEOUTS)
    except UpstreamError as failed:
        return failed.reason
    except RequestRejected as refused:
        return refused.detail
    return "ok" if answer.status // 100 == 2 else f"answered {answer.status}"


async def service_states() -> dict[str, str]:
    """Return the states of all services, asked at the same time."""
    services = configuration.current().services
    states = await asyncio.gather(*(service_state(name, service) for name, service in services.items()))
    return dict(zip(services, states, strict=True))


@cache
def health_checks() -> SingleFlight[dict[str, str]]:
    """Return the process's checks of the services."""
    return SingleFlight(service_states, fresh=FRESH)


def keys_state() -> str:
    """Return `ok`; `stale` if the keys' directory cannot be read again, so that those in memory stay in force."""
    try:
        keys.ring()
    except (OSError, ValueError):
        return "cannot be read"
    return "stale" if keys.folder().fault else "ok"


def sessions_state() -> str:
    """Return whether the session store can be read: each worker reads it twice a second, for the ended sessions."""
    return "ok" if revocations().started and revocations().sessions.stale_since is None else "cannot be read"


def revocations_state() -> dict[str, str]:
    """Return `ok`, or `stale` and since when, where it cannot be learned which sessions have ended."""
    since = revocations().stale_since
    return {"status": "stale", "since": since.isoformat(timespec="seconds")} if since else {"status": "ok"}


async def readiness() -> tuple[int, dict[str, Any]]:
    """Return 200 if the gateway and what it needs itself are well, else 503; and the state of each part and service.

    Stale revocations are no reason for 503: what is known stays in force, and the other workers know no more.
    """
    if draining.is_draining():
        return 503, {"status": "draining"}
    services = await health_checks().get()
    parts = {"sessions": sessions_state(), "keys": keys_state()}
    if login := configuration.current().login:
        parts["login"] = services[login.service]
    is_ready = GOOD.issuperset(parts.values())
    return 200 if is_ready else 503, {
        "status": "ready" if is_ready else "not ready",
        "parts": parts,
        "services": services,
        "revocations": revocations_state(),
    }


async def answer() -> tuple[int, Headers, bytes]:
    """Return /readyz's status, headers and content, for the fast door: no thread waits for a service."""
    status, report = await readiness()
    return status, [("Content-Type", "application/json"), *DATA_HEADERS.items()], json.dumps(report).encode()


def readyz(request: HttpRequest) -> HttpResponse:
    """Answer with the readiness under a WSGI server."""
    with suppress(DatabaseError):
        revocations().start()
    status, report = upstreams().run(readiness())
    return JsonResponse(report, status=status)
