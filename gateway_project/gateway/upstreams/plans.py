"""What holds for the requests of a route in this worker: its retries and bulkhead, prepared at its first request."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from gateway.config import Policies, Service

from . import measurements
from .bulkhead import Bulkhead
from .retries import STEP, RetryBudget, RetryPolicy


class Plan:
    """The plan of one route. The routes of a service share its budget and its bulkhead."""

    __slots__ = ("budget", "bulkhead", "policies", "retry")

    def __init__(self, policies: Policies, retry: RetryPolicy, bulkhead: Bulkhead) -> None:
        self.policies = policies
        self.retry = retry
        self.budget = retry.budget
        self.bulkhead = bulkhead

    def begin(self, now: float) -> bool:
        """Count a request; return whether it has a place at once."""
        self.budget.count(now)
        return self.bulkhead.enter_at_once()


class BudgetGauge:
    """The retries that a service has left, in /metrics: set at each step while requests count."""

    def __init__(self, service: str, share: float, budget: RetryBudget, loop: asyncio.AbstractEventLoop) -> None:
        self.service = service
        self.share = share
        self.budget = budget
        self.loop = loop
        self.timer: asyncio.TimerHandle | None = None
        budget.on_step = self.start

    @property
    def left(self) -> int:
        """How many retries are left by the service's own share; a route may have another."""
        return self.budget.left(self.loop.time(), self.share)

    def start(self) -> None:
        """Set it a step later, and at each one from then on."""
        if self.timer is None:
            self.timer = self.loop.call_later(STEP, self.update)

    def update(self) -> None:
        measurements.put(self.service, measurements.BUDGET, self.left)
        self.timer = self.loop.call_later(STEP, self.update) if self.budget.is_in_use() else None

    def close(self) -> None:
        self.budget.on_step = None
        if self.timer:
            self.timer.cancel()
            self.timer = None
        measurements.put(self.service, measurements.BUDGET, 0)


class Plans:
    """The plans of all routes. What a service of `kept` counts goes on in those of `before`."""

    def __init__(
        self,
        services: Mapping[str, Service],
        loop: asyncio.AbstractEventLoop,
        before: "Plans | None" = None,
        kept: Collection[str] = (),
    ) -> None:
        self.gauges: dict[str, BudgetGauge] = {}
        self.bulkheads: dict[str, Bulkhead] = {}
        for name, service in services.items():
            if before and name in kept:
                self.gauges[name], self.bulkheads[name] = before.gauges[name], before.bulkheads[name]
            else:
                self.gauges[name] = BudgetGauge(name, service.retry.budget, RetryBudget(), loop)
                self.bulkheads[name] = Bulkhead(name, service)
        # By the identity of the policies: they are frozen, and a plan keeps them alive.
        self.by_policies: dict[int, Plan] = {}

    def of(self, service: str, policies: Policies) -> Plan:
        return self.by_policies.get(id(policies)) or self.prepare(service, policies)

    def prepare(self, service: str, policies: Policies) -> Plan:
        retry = RetryPolicy(policies.retry, self.gauges[service].budget)
        self.by_policies[id(policies)] = plan = Plan(policies, retry, self.bulkheads[service])
        return plan

    def status(self) -> dict[str, dict[str, Any]]:
        """Return, by service, how many requests wait for a place and how many retries are left."""
        return {
            name: {"queued": len(self.bulkheads[name].queue), "retries_left": gauge.left}
            for name, gauge in self.gauges.items()
        }

    def close(self, kept: "Plans | None" = None) -> None:
        for name, gauge in self.gauges.items():
            if kept is None or kept.gauges.get(name) is not gauge:
                gauge.close()
