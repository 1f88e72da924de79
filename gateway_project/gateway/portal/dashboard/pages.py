"""The dashboard, all that is known of one request, and `explain` as a form."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from gateway import callers, configuration, in_force
from gateway.config import ConfigError, RateLimit, load_with_lines
from gateway.explaining import Explainer, Explanation, user_of, with_host, with_states
from gateway.history import DAY, MINUTES
from gateway.identity.models import AuditEntry
from gateway.policy.limits import Verdict
from gateway.policy.routes import KNOWN
from gateway.portal.admin_pages import AdminPage
from gateway.portal.context import WebRequest
from gateway.runtime import Runtime

from . import charts, figures, state
from .figures import NAMES, WINDOWS, Board, Subject

PATH: Final = "/gateway/"
PROBLEMS: Final = 25
# Seconds for which a part of the page serves all who look at it. Scripts ask every two seconds.
FRESH: Final = {"traffic-5m": 2.0, "traffic-1h": 5.0, "traffic-24h": 15.0, "now": 2.0, "rest": 5.0}
# Parts that are kept: charts of different subjects.
MAX_KEPT: Final = 64


class Parts:
    """Rendered parts of the page, kept for a moment, so that many who look cost about as much as one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: dict[tuple[str, ...], tuple[float, Runtime, str]] = {}

    def get(self, key: tuple[str, ...], runtime: Runtime, render: Callable[[], str]) -> str:
        """Return the part, rendered by one thread at a time."""
        with self.lock:
            until, of, text = self.kept.get(key, (0.0, None, ""))
            if time.monotonic() < until and of is runtime:
                return text
            if len(self.kept) >= MAX_KEPT:
                self.kept.clear()
            text = render()
            self.kept[key] = time.monotonic() + FRESH[key[0]], runtime, text
            return text


PARTS: Final = Parts()


class DashboardPage(AdminPage):
    """Traffic over a window of time, and the state of everything. `part=live` is what scripts poll."""

    template = "gateway/dashboard.html"

    def respond(self, request: WebRequest) -> HttpResponseBase:
        runtime = request.gateway.runtime
        window = request.GET.get("window", "5m")
        window = window if window in WINDOWS else "5m"
        subject = Subject.of(request.GET.get("of", ""), runtime.config)
        parts = [
            PARTS.get((f"traffic-{window}", str(subject)), runtime, lambda: traffic(runtime, window, subject)),
            PARTS.get(("now", window), runtime, lambda: now_part(runtime, window)),
            PARTS.get(("rest", window), runtime, lambda: rest(runtime, window)),
        ]
        if request.GET.get("part") == "live":
            return HttpResponse("".join(parts), headers={"Cache-Control": "no-store"})
        windows = [(key, NAMES[key], PATH + query(key, subject), key == window) for key in WINDOWS]
        return self.rendered(
            request, {"parts": parts, "windows": windows, "live": PATH + query(window, subject, "live")}
        )


def query(window: str, subject: Subject, part: str = "") -> str:
    given = {"window": window, "of": str(subject), "part": part}
    return "?" + urlencode({name: value for name, value in given.items() if value})


def traffic(runtime: Runtime, window: str, subject: Subject) -> str:
    """Return the part with figures and charts."""
    now = time.time()
    ring, board = WINDOWS[window], Board(runtime.config)
    slots = runtime.history.slots(ring, now)
    counted = figures.sums(slots)
    found = list(figures.points(board, slots, ring, subject, now))
    seconds = figures.recorded_seconds(slots, ring, now)

    def row(name: str, of: Subject | None, each: figures.Figures, more: str = "") -> dict[str, Any]:
        href = PATH + query(window, of) if of else ""
        return {"name": name, "more": more, "href": href, "is_shown": of == subject, "rate": each.count / seconds} | {
            "figures": each
        }

    addresses = sorted(figures.by_address(counted).items())
    shown = {
        "subject": subject,
        "all": PATH + query(window, Subject()),
        "name": NAMES[window],
        "figures": board.requests(counted, subject),
        "now": figures.now_rate(found),
        "requests": charts.requests_chart(found),
        "times": charts.times_chart(found),
        "points": [(charts.clock(point.start), point) for point in reversed(found) if point.figures.count],
        "routes": [
            row(route.path, Subject("route", route.path), each, ", ".join(route.methods))
            for route, each in board.by_route(counted)
        ]
        + [row(name, None, each) for name, each in board.others(counted)],
        "services": [row(name, Subject("service", name), each) for name, each in board.by_service(counted)],
        "addresses": [
            row(address, Subject("address", f"{service} {address}"), each, service)
            for (service, address), each in addresses
        ],
    }
    return render_to_string("gateway/dashboard_traffic.html", shown)


def now_part(runtime: Runtime, window: str) -> str:
    """Return the part with addresses, limits and recent problems."""
    now = time.time()
    ring, board = WINDOWS[window], Board(runtime.config)
    counted = figures.sums(runtime.history.slots(ring, now))
    last = counted if ring is MINUTES else figures.sums(runtime.history.slots(MINUTES, now))
    problems = runtime.problems.newest(state.MAX_READ)
    rows = state.address_rows(last, state.workers(runtime))
    shown = {
        "name": NAMES[window],
        "addresses": rows,
        "unhealthy": sum(row.worst != "healthy" for row in rows),
        "limits": state.limit_rows(board, counted, problems, now - ring.seconds * ring.slots),
        "problems": [with_time(problem) for problem in problems[:PROBLEMS]],
    }
    return render_to_string("gateway/dashboard_now.html", shown)


def rest(runtime: Runtime, window: str) -> str:
    """Return the part with sign-ins, keys, configuration and routes."""
    ring, board = WINDOWS[window], Board(runtime.config)
    configs = state.config_rows(state.workers(runtime))
    slots = runtime.history.slots(DAY)
    first = next((slot.start for slot in slots if slot.times), None)
    shown = {
        "name": NAMES[window],
        "sign_ins": state.sign_ins(ring.seconds * ring.slots),
        "keys": state.key_rows(runtime.keys),
        "configs": [(row, moment(row.since), moment(row.started)) for row in configs],
        "digests": len({row.digest for row in configs}),
        "file": settings.GATEWAY_CONFIG.name,
        "file_digest": configuration.digest_on_disk(settings.GATEWAY_CONFIG),
        "in_force": configuration.loaded.digest[: configuration.DIGITS] if configuration.loaded else "",
        "rejected": in_force.rejection(),
        "uncalled": state.uncalled(board, figures.sums(slots)),
        "since": moment(first) if first else "",
        "deprecated": list(callers.report(runtime.config.routes)),
    }
    return render_to_string("gateway/dashboard_rest.html", shown)


def moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at else ""


def with_time(problem: dict[str, Any]) -> dict[str, Any]:
    return problem | {"at": moment(problem["time"]), "clock": time.strftime("%H:%M:%S", time.gmtime(problem["time"]))}


class RequestPage(AdminPage):
    """All that is known of the requests with an id."""

    template = "gateway/request.html"

    def context(self, request: WebRequest) -> dict[str, Any]:
        request_id = request.GET.get("id", "").strip()[:64]
        runtime = request.gateway.runtime
        found = []
        for problem in runtime.problems.of(request_id)[:20] if request_id else ():
            given = {"method": problem["method"], "target": problem["path"], "user": problem.get("user_id") or ""}
            explain = urlencode({name: value for name, value in given.items() if value})
            found.append(with_time(problem) | {"explain": f"{PATH}explain/?{explain}"})
        entries = (
            AuditEntry.objects.filter(request_id=request_id)[:20] if request_id.isprintable() and request_id else ()
        )
        return {"id": request_id, "found": found, "entries": list(entries)}


class ExplainPage(AdminPage):
    """What the gateway would decide on a request, as `manage.py explain` has it."""

    template = "gateway/explain.html"

    def context(self, request: WebRequest) -> dict[str, Any]:
        given = {
            name: request.GET.get(name, default).strip()
            for name, default in (
                ("method", "GET"),
                ("target", ""),
                ("user", ""),
                ("role", ""),
                ("address", "127.0.0.1"),
            )
        }
        runtime = request.gateway.runtime
        shown: dict[str, Any] = {"given": given, "methods": sorted(KNOWN), "roles": runtime.config.roles}
        if not given["target"]:
            return shown
        if given["user"] and not given["user"].isdecimal():
            return shown | {"fault": f"The user is an id, such as 7. Got {given['user']}."}
        try:
            found = explanation(runtime, **given)
        except (ConfigError, OSError, ValueError) as exc:
            return shown | {"fault": str(exc)}
        return shown | {"found": found, "file": settings.GATEWAY_CONFIG.name}


def explanation(runtime: Runtime, *, method: str, target: str, user: str, role: str, address: str) -> Explanation:
    """Return the decision by the gateway.yaml in force."""
    loaded = configuration.loaded
    content = loaded.content if loaded else settings.GATEWAY_CONFIG.read_bytes()

    def peek(keys: Sequence[str], limits: Sequence[RateLimit]) -> list[Verdict]:
        if runtime.gate.shared is None or settings.REDIS_URL is None:
            return runtime.gate.counters.peek(keys, limits)
        from gateway import shared_counters  # its client is imported only where it is used

        try:
            return shared_counters.peek(settings.REDIS_URL, settings.REDIS_TIMEOUT, keys, limits)
        except shared_counters.ERRORS:
            return runtime.gate.counters.peek(keys, limits)

    explainer = Explainer(
        runtime.config,
        load_with_lines(settings.GATEWAY_CONFIG, os.environ, content)[1],
        allowed_hosts=tuple(settings.ALLOWED_HOSTS),
        trusted_proxies=settings.TRUSTED_PROXIES,
        peek=peek,
    )
    whom = user_of(runtime.config, user or None, role or None)
    headers = with_host([], settings.ALLOWED_HOSTS)
    found = explainer.explain(method.upper(), target, user=whom, address=address, headers=headers)
    return with_states(found, state.workers(runtime))
