"""What the workers, the database and the files have now: addresses, limits, sign-ins, keys, configuration."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count
from django.utils import timezone

from gateway.history import AnySeries, Times
from gateway.identity import audit
from gateway.identity.audit import Event
from gateway.identity.key_storage import KeyFiles
from gateway.identity.keys import Keys
from gateway.identity.models import AuditEntry, Session
from gateway.recent_problems import Problem
from gateway.runtime import Runtime
from gateway.status import statuses
from gateway.upstreams import measurements
from gateway.upstreams.addresses import STATES, states_in_words

from . import figures
from .figures import Board, Figures

# Rejections by a limit that are read for whom it rejected, and how many clients are shown.
MAX_READ: Final = 2000
MAX_CLIENTS: Final = 5


def workers(runtime: Runtime) -> list[dict[str, Any]]:
    """Return the status of each worker; of this process alone where there are no others."""
    found = list(statuses(settings.STATE, within=1.0))
    if found:
        return found
    services = {name: balancer.status() for name, balancer in runtime.upstreams.pools.services.items()}
    return [{"pid": 0, "started": time.time(), "services": services, "config": None}]


@dataclass
class AddressRow:
    """An address of a service, as all workers see it, and its figures."""

    service: str
    address: str
    figures: Figures
    states: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    connections: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def worst(self) -> str:
        return next((state for state in STATES if state in self.states), "")

    @property
    def state(self) -> str:
        """The state in words, with the number of workers where they differ."""
        return states_in_words(self.states)


def address_rows(counted: Mapping[AnySeries, Times], found: Iterable[dict[str, Any]]) -> list[AddressRow]:
    """Return the addresses, those that are not healthy first."""
    known = figures.by_address(counted)
    rows: dict[tuple[str, str], AddressRow] = {}
    for worker in found:
        for service, addresses in worker["services"].items():
            for each in addresses:
                key = service, each["address"]
                row = rows.setdefault(key, AddressRow(*key, known.get(key, Figures())))
                row.states[each["state"]] += 1
                row.in_flight += each["in_flight"]
                row.connections += each["connections"]
                if each["check"]:
                    row.notes.append(f"check: {each['check']}")
                elif each["state"] == "ejected":
                    rests = each["rests"]
                    row.notes.append(f"tried again in {rests:.1f} s" if rests else "tried with the next request")
    for row in rows.values():
        row.notes = list(dict.fromkeys(row.notes))[:2]
    return sorted(rows.values(), key=lambda row: (STATES.index(row.worst), row.service, row.address))


@dataclass(frozen=True)
class LimitRow:
    """A limit that rejected requests in the window, and whom."""

    name: str
    at: str
    requests: int
    whom: str


def limit_rows(
    board: Board, counted: Mapping[AnySeries, Times], problems: Sequence[Problem], since: float
) -> list[LimitRow]:
    """Return the limits that rejected requests. The counts are exact; the clients are those of the kept problems."""
    whom: dict[str, Counter[str]] = {}
    names: dict[str, Counter[str]] = {}
    for problem in problems:
        if problem["status"] == 429 and problem["time"] >= since and problem.get("route"):
            user, client = problem.get("user_id"), problem.get("client")
            whom.setdefault(problem["route"], Counter())[f"user {user}" if user else f"address {client}"] += 1
            names.setdefault(problem["route"], Counter()).update(problem.get("limits") or ())
    rows = []
    for route, found in board.by_route(counted):
        if found.too_many:
            clients = whom.get(route.path, Counter()).most_common(MAX_CLIENTS)
            limits = ", ".join(name for name, _ in names.get(route.path, Counter()).most_common(3))
            rows.append(
                LimitRow(
                    f"rate_limit {limits}" if limits not in {"", "default"} else "rate_limit",
                    route.path,
                    found.too_many,
                    ", ".join(f"{client} ({count})" for client, count in clients),
                )
            )
    for service in board.config.services:
        for name, what in (("max_in_flight", measurements.REJECTED), ("retry budget", measurements.RETRIES_REJECTED)):
            if count := figures.of_service(counted, service, what):
                rows.append(LimitRow(name, f"the {service} service", count, ""))
    return rows


@dataclass(frozen=True)
class SignIns:
    """Sessions, and what happened at sign-ins in the window. `fault` is why that cannot be read."""

    sessions: int = 0
    events: list[tuple[str, int]] = field(default_factory=list)
    failed: list[AuditEntry] = field(default_factory=list)
    fault: str = ""


SIGN_IN_EVENTS: Final = (
    Event.SIGNED_IN,
    Event.SIGN_IN_FAILED,
    Event.SIGN_IN_THROTTLED,
    Event.REFRESH_TOKEN_REUSED,
)


def sign_ins(seconds: float) -> SignIns:
    now = timezone.now()
    try:
        rows = AuditEntry.objects.filter(at__gte=now - timedelta(seconds=seconds), event__in=SIGN_IN_EVENTS)
        counts = dict(rows.order_by().values_list("event").annotate(Count("pk")))
        return SignIns(
            Session.objects.filter(ended_at=None, expires_at__gt=now).count(),
            [(event, counts.get(event, 0)) for event in SIGN_IN_EVENTS],
            list(audit.entries(Event.SIGN_IN_FAILED)[:5]),
        )
    except DatabaseError as exc:
        return SignIns(fault=f"The gateway's database cannot be read: {exc}")


@dataclass(frozen=True)
class KeyRow:
    kid: str
    state: str
    age: str


def key_rows(keys: Keys) -> list[KeyRow]:
    """Return the signing keys; the age of one from before the first rotation is that of its file."""
    ring, now = keys.current(), time.time()
    rows = []
    for key in ring.keys:
        state = "earlier: verifies only"
        if key is ring.signing:
            state = "signs"
        elif key.signs_from > now:
            state = f"signs in {age(key.signs_from - now)}"
        since = key.signs_from
        if not since and isinstance(keys.storage, KeyFiles):
            since = next((path.stat().st_mtime for path in keys.storage.directory.glob(f"{key.kid}.*")), 0.0)
        rows.append(KeyRow(key.kid, state, age(now - since) if 0 < since < now else ""))
    return rows


def age(seconds: float) -> str:
    """Return a time span in its largest unit."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


@dataclass(frozen=True)
class ConfigRow:
    """The gateway.yaml of a worker."""

    pid: int
    digest: str
    since: float
    started: float


def config_rows(found: Iterable[dict[str, Any]]) -> list[ConfigRow]:
    rows = []
    for worker in found:
        config = worker.get("config") or {}
        rows.append(ConfigRow(worker["pid"], config.get("sha256", ""), config.get("since", 0.0), worker["started"]))
    return rows


def uncalled(board: Board, counted: Mapping[AnySeries, Times]) -> list[tuple[str, str]]:
    """Return path and methods of the routes without requests."""
    return [(route.path, ", ".join(route.methods)) for route, found in board.by_route(counted) if not found.count]
