"""Whether the gateway lives, and whether it can serve."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from gateway import configuration
from gateway.config import Service
from gateway.identity.revocations import revocations
from gateway.policy.refusals import Refused
from gateway.upstreams import upstreams


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200: the process serves. It asks nobody: a service that is away is no reason to restart the gateway."""
    return JsonResponse({"status": "ok", "service": "gateway"})


def service_state(name: str, service: Service) -> str:
    """Return `ok` where the service's health path answers 2xx, else what is the matter."""
    if service.health is None:
        return "unknown"
    try:
        answer = upstreams().send(name, "GET", service.health)
        answer.read()
    except Refused as exc:
        return exc.detail
    return "ok" if answer.status // 100 == 2 else f"answered {answer.status}"


def database_state() -> str:
    """Return `ok` where the sessions can be read."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "away"
    return "ok"


def revocations_state() -> dict[str, str]:
    """Return `ok`, or `stale` and since when, where it cannot be learned which sessions have ended."""
    since = revocations().stale_since
    return {"status": "stale", "since": since.isoformat(timespec="seconds")} if since else {"status": "ok"}


def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 where everything that requests need answers, else 503; each part says how it is.

    Stale revocations are no reason for 503: what is known stays in force, and the other workers know no more.
    """
    parts = {name: service_state(name, service) for name, service in configuration.current().services.items()}
    parts["sessions"] = database_state()
    ready = all(state in {"ok", "unknown"} for state in parts.values())
    said = {"status": "ready" if ready else "not ready", "parts": parts, "revocations": revocations_state()}
    return JsonResponse(said, status=200 if ready else 503)
