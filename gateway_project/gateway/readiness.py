"""Readiness: whether the gateway, with what it needs itself, can serve.

A service that is down is listed and is no reason to take the gateway out of rotation: all other routes still work. The
login service is one of the gateway's own needs.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import draining, in_force
from .config import Config, Service, Timeouts
from .identity.keys import Keys
from .identity.revocations import Revocations
from .policy.rejections import RequestRejected, UpstreamError
from .upstreams import SingleFlight, Upstreams, fetch

if TYPE_CHECKING:
    from .shared_counters import SharedCounters

# Seconds that a service's health check may take, and for which its result is everyone's.
LIMIT: Final = 1.0
TIMEOUTS: Final = Timeouts().model_copy(update={"connect": LIMIT, "total": LIMIT})
FRESH: Final = 1.0
GOOD: Final = frozenset({"ok", "stale", "unknown"})


class Readiness:
    def __init__(
        self,
        config: Config,
        upstreams: Upstreams,
        keys: Keys,
        revocations: Revocations,
        shared: "SharedCounters | None" = None,
        *,
        document_states: Callable[[], dict[str, str]],
    ) -> None:
        self.config = config
        self.upstreams = upstreams
        self.keys = keys
        self.revocations = revocations
        self.document_states = document_states
        self.shared = shared
        self.services = SingleFlight(self.service_states, fresh=FRESH)

    async def report(self) -> tuple[int, dict[str, Any]]:
        """Return 200 if the gateway and what it needs itself are well, else 503; and each part's and service's state.

        Stale revocations are no reason for 503: what is known stays in force, and the other workers know no more.
        """
        if draining.is_draining():
            return 503, {"status": "draining"}
        services, limits = await asyncio.gather(self.services.get(), self.limits_state())
        parts = {"sessions": self.sessions_state(), "keys": self.keys_state()}
        if login := self.config.login:
            parts["login"] = services[login.service]
        is_ready = GOOD.issuperset(parts.values())
        report = {
            "status": "ready" if is_ready else "not ready",
            "parts": parts,
            "services": services,
            "revocations": self.revocations_state(),
        } | self.address_states()
        if documents := self.document_states():
            # No reason for 503: requests are forwarded without the check.
            report["documents"] = documents
        if limits is not None:
            # No reason for 503 either: while the server cannot be reached, each machine counts alone.
            report["limits"] = limits
        if workers := in_force.read():
            report["config"] = workers
        if rejection := in_force.rejection():
            report["config_rejected"] = rejection._asdict()
        return 200 if is_ready else 503, report

    async def limits_state(self) -> dict[str, str] | None:
        """Return the state of the server of shared counts, `None` without one."""
        if self.shared is None:
            return None
        try:
            return await asyncio.wait_for(self.shared.state(), LIMIT)
        except TimeoutError:
            return {"status": "local", "cause": f"no response within {LIMIT:g} s"}

    async def service_states(self) -> dict[str, str]:
        services = self.config.services
        states = await asyncio.gather(*(self.service_state(name, service) for name, service in services.items()))
        return dict(zip(services, states, strict=True))

    async def service_state(self, name: str, service: Service) -> str:
        """Return `ok` if the health path responds with 2xx, else the error; `unknown` without a health path."""
        if service.health is None:
            return "unknown"
        balancer = self.upstreams.pools.of(name)
        if not balancer.is_alone:
            return balancer.checked_state()
        try:
            response = await fetch(self.upstreams.pools, name, service.health.path, timeouts=TIMEOUTS)
        except UpstreamError as exc:
            return exc.reason
        except RequestRejected as exc:
            return exc.detail
        return "ok" if response.status // 100 == 2 else f"responded with {response.status}"

    def address_states(self) -> dict[str, Any]:
        """Return how many addresses are in which state, for services with several, or whose only one is ejected.

        The addresses themselves are not for everyone.
        """
        services = {
            name: dict(sorted(Counter(str(pool.ejection.state) for pool in balancer.pools).items()))
            for name, balancer in self.upstreams.pools.services.items()
            if balancer.only is None
        }
        return {"addresses": services} if services else {}

    def keys_state(self) -> str:
        """Return `ok`; `stale` if the keys' directory cannot be read, so that those in memory stay in use."""
        self.keys.current()
        return "stale" if self.keys.fault else "ok"

    def sessions_state(self) -> str:
        """Return whether the session store can be read; each worker reads it twice a second."""
        known = self.revocations
        return "ok" if known.started and known.sessions.stale_since is None else "cannot be read"

    def revocations_state(self) -> dict[str, str]:
        """Return `ok`, or `stale` with a time, if ended sessions cannot be learned."""
        since = self.revocations.stale_since
        return {"status": "stale", "since": since.isoformat(timespec="seconds")} if since else {"status": "ok"}
