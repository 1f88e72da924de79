"""The home page: what the gateway exposes, by service, and what the viewer may use of it."""

import json
import shlex
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render

from gateway.config import Config, Route
from gateway.policy.access import Identity

from . import descriptions, schemas
from .context import APIRequest
from .descriptions import Document
from .pages import may

ORDER = ("GET", "POST", "PUT", "PATCH", "DELETE")


def page(request: APIRequest) -> HttpResponse:
    context = request.gateway
    runtime, config = context.runtime, context.runtime.config
    identity = context.signed_in()
    states = runtime.upstreams.run(runtime.readiness.services.get())
    scheme, host = context.origin()
    document = descriptions.document(runtime.documents)
    shown = {
        "services": [
            {"name": name, "state": states[name], "routes": _routes(config, document, name, identity)}
            for name in config.services
        ],
        "steps": _first_steps(config, document, f"{scheme}://{host}") if settings.SHOW_FIRST_STEPS else [],
        "public": sum(route.allow == "public" for route in config.routes),
    }
    response = render(request._request, "gateway/home.html", shown)  # noqa: SLF001  # DRF's own name for what it wraps
    response.headers["Vary"] = "Accept"
    return response


def _routes(config: Config, document: Document, service: str, identity: Identity | None) -> list[dict[str, Any]]:
    found = []
    for route in config.routes:
        if route.service != service:
            continue
        operations = descriptions.operations(document, route)
        allowed = may(route.allow, identity)
        found.append(
            {
                "path": route.path,
                "href": _link(route) if allowed else "",
                "may": allowed,
                "who": route.allow if isinstance(route.allow, str) else ", ".join(route.allow),
                "methods": sorted(route.methods, key=lambda method: ORDER.index(method) if method in ORDER else 9),
                "summary": _summary(operations),
                "deprecated": route.deprecated.since is not None,
            }
        )
    return found


def _link(route: Route) -> str:
    """Return the page of the route, empty if its path has parameters to fill in."""
    start = route.path.partition("{")[0]
    if route.browser == "passthrough":
        return start
    return route.path if start == route.path else ""


def _summary(operations: dict[str, dict[str, Any]]) -> str:
    """Return the first line that the document has about the route."""
    for method in ORDER:
        operation = operations.get(method, {})
        text = operation.get("summary") or operation.get("description", "").partition("\n")[0]
        if text and not text.startswith(descriptions.OWN_LINES):
            return str(text)[:200]
    return ""


def _first_steps(config: Config, document: Document, base: str) -> list[dict[str, str]]:
    """Return the first requests to try in a shell: sign in, then read a list, then add to one."""
    steps = []
    token = ""
    if config.login:
        token = '-H "Authorization: Bearer $TOKEN" '  # a variable of the shell's
        body = """'{"username":"user","password":"u"}'"""
        command = f"curl -s -H 'Content-Type: application/json' -d {body} {base}/api/login"
        cut = 'sed \'s/.*"access_token": *"\\([^"]*\\)".*/\\1/\''
        steps.append({"title": "Sign in", "command": f"TOKEN=$({command} | {cut})"})
    for method, title in (("GET", "Read"), ("POST", "Add to")):
        for route in config.routes:
            is_open = route.allow == "public" or (token and route.allow == "authenticated")
            operation = descriptions.operations(document, route).get(method, {})
            taken = schemas.request_body(operation, document)
            is_json = taken is not None and taken.is_json
            is_list = "{" not in route.path and "GET" in route.methods and (method == "GET" or is_json)
            if is_open and route.browser == "api" and method in route.methods and is_list:
                header = "" if route.allow == "public" else token
                example = shlex.quote(json.dumps(taken.example)) if taken else ""
                body = f"-H 'Content-Type: application/json' -d {example} " if is_json else ""
                steps.append({"title": f"{title} {route.path}", "command": f"curl {header}{body}{base}{route.path}"})
                break
    return steps
