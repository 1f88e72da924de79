"""What holds for the requests of a route in this worker: its retries and bulkhead, prepared at its first request."""

from collections.abc import Mapping

from gateway.config import Policies, Service

from .bulkhead import Bulkhead
from .retries import RetryBudget, RetryPolicy


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
        bulkhead = self.bulkhead
        self.budget.count(now)
        if bulkhead.in_flight >= bulkhead.limit:
            return False
        bulkhead.in_flight += 1
        return True


class Plans:
    """The plans of all routes."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self.budgets = {name: RetryBudget() for name in services}
        self.bulkheads = {name: Bulkhead(name, service) for name, service in services.items()}
        # By the identity of the policies: they are frozen, and a plan keeps them alive.
        self.by_policies: dict[int, Plan] = {}

    def of(self, service: str, policies: Policies) -> Plan:
        """Return the plan of these policies."""
        return self.by_policies.get(id(policies)) or self.prepare(service, policies)

    def prepare(self, service: str, policies: Policies) -> Plan:
        retry = RetryPolicy(policies.retry, self.budgets[service])
        self.by_policies[id(policies)] = plan = Plan(policies, retry, self.bulkheads[service])
        return plan
