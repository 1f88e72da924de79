"""What holds for the requests of a route in this worker: its retries and bulkhead, prepared at its first request."""

from collections.abc import Mapping
from typing import NamedTuple

from gateway.config import Policies, Service

from .bulkhead import Bulkhead
from .retries import RetryBudget, RetryPolicy


class Plan(NamedTuple):
    """The plan of one route. The routes of a service share its budget and its bulkhead."""

    policies: Policies
    retry: RetryPolicy
    bulkhead: Bulkhead


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
