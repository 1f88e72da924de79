"""The addresses of each service: which one a request is sent to, and what is known of them."""

import asyncio
import contextvars
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from gateway.config import HealthCheck, Service
from gateway.metrics import UPSTREAMS
from gateway.policy.rejections import CircuitOpen, UpstreamOverloaded

from .addresses import Address
from .choice import choose
from .ejection import Ejection, State
from .errors import ErrorLog
from .health_checks import HealthChecks, error_of
from .measurements import EJECTIONS, GAUGES, MAX_RESOLVED, OTHER
from .plans import Plans
from .pools import ConnectError, Pool
from .resolution import LookUp, Name, Resolution, is_name

log = logging.getLogger(__name__)


class Balancer:
    """The addresses of one service."""

    def __init__(self, name: str, service: Service, loop: asyncio.AbstractEventLoop, look_up: LookUp) -> None:
        self.name = name
        self.loop = loop
        self.service = service
        self.policy = service.eject
        self.connect_timeout = service.timeouts.connect
        self.health = service.health
        self.tls = service.tls
        self.probes: set[asyncio.Task[None]] = set()
        # Those that names no longer have, while requests to them are in flight.
        self.retired: WeakSet[Pool] = WeakSet()
        # The addresses of names that have metrics of their own.
        self.labels: set[str] = set()
        # By URL: one pool, or one for each address of its name.
        self.by_url = [[self.pool(Address.of(url), url.weight)] for url in service.url]
        self.sort()
        self.names = {
            pool.address: Name(pool.address, self.connect_timeout, look_up, partial(self.use, index))
            for index, (pool,) in enumerate(self.by_url)
            if is_name(pool.address.host)
        }
        # Set where a name has to be resolved soon; that of `Pools`, if there are names.
        self.wanted: asyncio.Event | None = None

    def pool(self, address: Address, weight: float, ip: str | None = None) -> Pool:
        label = None
        if ip is not None:
            if len(self.labels) < MAX_RESOLVED:
                self.labels.add(ip)
            label = None if ip in self.labels else OTHER
        pool = Pool(self.name, address, self.loop, weight, tls=self.tls, ip=ip, label=label)
        pool.ejection = Ejection(self.policy, pool, self)
        return pool

    def use(self, index: int, ips: Sequence[str]) -> None:
        """Use these addresses of the name of a URL; those that are known already keep their state."""
        before = self.by_url[index]
        known = {pool.ip: pool for pool in before}
        first = before[0]
        self.by_url[index] = [known.get(ip) or self.pool(first.address, first.full_weight, ip) for ip in ips]
        gone = [pool for pool in before if pool not in self.by_url[index]]
        for pool in gone:
            pool.retire()
            self.retired.add(pool)
        self.sort()
        if gone and self.is_alone:
            self.pools[0].ejection.on_alone()

    def doubt(self, pool: Pool) -> None:
        """Resolve the address's name: it did not accept a connection."""
        if self.wanted and (name := self.names.get(pool.address)):
            name.is_in_doubt = True
            self.wanted.set()

    def sort(self) -> None:
        self.pools = tuple(pool for pools in self.by_url for pool in pools)
        self.is_alone = len(self.pools) == 1
        self.healthy = tuple(pool for pool in self.pools if pool.ejection.state is State.HEALTHY)
        self.ejected = tuple(pool for pool in self.pools if pool not in self.healthy)
        # While there is no choice, a request pays one test.
        self.only = self.healthy[0] if self.is_alone and self.healthy else None

    def first(self) -> Pool:
        """Return the address for a request that has not been sent yet; raise `CircuitOpen`."""
        if not self.ejected:
            return choose(self.healthy)
        for pool in self.ejected:
            if pool.ejection.take_probe():
                return pool
        # A refused connection costs no time, so a request can try.
        if (rejection := self.rejection()) and not self.pools[0].ejection.refuses:
            raise rejection
        # Where all are bad, all are tried.
        return choose(self.healthy or self.pools)

    def rejection(self) -> CircuitOpen | None:
        """Return what requests get while the only address rests; `None` if it does not, or is not the only one."""
        if not (self.is_alone and self.ejected):
            return None
        ejection = self.pools[0].ejection
        return CircuitOpen(self.name, ejection.retry_after, ejection.reason)

    def pick(self, exclude: Collection[Pool]) -> Pool | None:
        """Return the address for a request that has been sent to those of `exclude`; `None` if no other is left."""
        pools = [pool for pool in self.healthy if pool not in exclude]
        pools = pools or [pool for pool in self.pools if pool not in exclude]
        return choose(pools) if pools else None

    def may_eject(self) -> bool:
        most = self.policy.most * len(self.pools)
        return len(self.ejected) + 1 <= (max(most, 1) if most else 0)

    def status(self) -> list[dict[str, Any]]:
        now = self.loop.time()
        return [
            {
                "address": pool.label + pool.address.base,
                "state": pool.ejection.described_state,
                "in_flight": pool.in_flight,
                "connections": len(pool.live),
                "failures": pool.ejection.failures,
                "rests": max(0.0, round(pool.ejection.rests_until - now, 1)),
                "check": pool.ejection.check_error,
            }
            for pool in self.pools
        ]

    def checked_state(self) -> str:
        """Return `ok` if an address passes its active checks, else why the first does not."""
        errors = [pool.ejection.check_error for pool in self.pools]
        return errors[0] if all(errors) else "ok"

    def on_change(self, pool: Pool, before: State, why: str = "") -> None:
        self.sort()
        if pool.ejection.state is State.EJECTED:
            pool.close_idle()
            if before is not State.EJECTED:
                pool.measurements.count(EJECTIONS)
        if pool.ejection.state is not before:
            log_change(pool, why)

    def probe(self, pool: Pool) -> None:
        """Ask for the health of the address, or connect to it where that is not declared, in the background."""
        # In an empty context: its log lines belong to no request.
        probe = pool.loop.create_task(self.ask(pool), context=contextvars.Context())
        self.probes.add(probe)
        probe.add_done_callback(self.probes.discard)

    async def ask(self, pool: Pool) -> None:
        if self.health:
            pool.ejection.on_probe(await error_of(pool, self.health))
            return
        try:
            connection = await pool.connect(self.connect_timeout)
        except (ConnectError, UpstreamOverloaded) as exc:
            pool.ejection.on_probe(str(exc))
        else:
            connection.become_idle()
            pool.ejection.on_probe("")

    @property
    def is_busy(self) -> bool:
        return any(pool.live for pool in (*self.pools, *self.retired))

    def retire(self) -> None:
        """Take no new requests: another gateway.yaml is in force. Requests under way continue."""
        for probe in self.probes:
            probe.cancel()
        for pool in self.pools:
            pool.retire()

    def close(self) -> None:
        for probe in self.probes:
            probe.cancel()
        for pool in (*self.pools, *self.retired):
            pool.close()


def log_change(pool: Pool, why: str) -> None:
    ejection, where = pool.ejection, f"The {pool.service} service at {pool.label}"
    extra = {"event": f"address_{ejection.state}", "service": pool.service, "address": pool.label}
    if ejection.state is State.HEALTHY:
        log.info("%s is healthy again", where, extra=extra)
    elif ejection.state is State.PROBING:
        log.info("%s accepts connections and is probed, one request at a time", where, extra=extra)
    else:
        rest = ejection.rests_until - pool.loop.time()
        for_time = f" for {rest:.1f} s" if rest > 0 else ""
        log.warning("%s is ejected%s: %s", where, for_time, why, extra=extra)


class Pools:
    """The connections to all services. A service that has not changed since `before` keeps its connections."""

    def __init__(
        self,
        services: Mapping[str, Service],
        loop: asyncio.AbstractEventLoop,
        look_up: LookUp | None = None,
        state: Path | None = None,
        before: "Pools | None" = None,
    ) -> None:
        self.loop = loop
        resolver = look_up or loop.getaddrinfo
        known: dict[str, Balancer] = before.services if before else {}
        self.services: dict[str, Balancer] = {
            name: known[name]
            if name in known and known[name].service == service
            else Balancer(name, service, loop, resolver)
            for name, service in services.items()
        }
        # Those of `before` that are not used any more, but may have requests under way.
        self.retired: list[Balancer] = []
        kept = {name for name, balancer in self.services.items() if balancer is known.get(name)}
        # What is counted of requests in flight stays counted.
        self.plans: Plans = Plans(services, loop, before.plans if before else None, kept)
        self.errors: ErrorLog = before.errors if before else ErrorLog()
        if before is None:
            UPSTREAMS.clear(lambda series: series.what in GAUGES)
        names = [name for balancer in self.services.values() for name in balancer.names.values()]
        self.resolution = Resolution(names, loop)
        if names:
            for balancer in self.services.values():
                balancer.wanted = self.resolution.wanted
            # Under a WSGI server the loop runs in another thread.
            loop.call_soon_threadsafe(self.resolution.start)
        self.checks: HealthChecks | None = None
        if state and any(each.health and (each.names or not each.is_alone) for each in self.services.values()):
            self.checks = HealthChecks(state / "health", self.to_check)
            loop.call_soon_threadsafe(self.checks.start, loop)

    def retire(self, before: "Pools") -> None:
        """Let what `before` has under way end, if it is not kept."""
        before.stop_looking()
        before.plans.close(self.plans)
        kept = set(self.services.values())
        gone = [balancer for balancer in before.services.values() if balancer not in kept]
        for balancer in gone:
            balancer.retire()
        self.retired = [balancer for balancer in (*before.retired, *gone) if balancer.is_busy]

    def stop_looking(self) -> None:
        self.resolution.close()
        if self.checks:
            self.checks.close()

    def of(self, service: str) -> Balancer:
        return self.services[service]

    def to_check(self) -> Iterator[tuple[Pool, HealthCheck]]:
        for balancer in self.services.values():
            if balancer.health and not balancer.is_alone:
                for pool in balancer.pools:
                    yield pool, balancer.health

    def break_off(self) -> None:
        """End every exchange: the gateway stops, and a request's longest time is over."""
        for balancer in (*self.services.values(), *self.retired):
            for pool in (*balancer.pools, *balancer.retired):
                pool.break_off()

    def close(self) -> None:
        self.stop_looking()
        self.plans.close()
        for balancer in (*self.services.values(), *self.retired):
            balancer.close()
