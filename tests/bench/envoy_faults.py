"""Envoy with the policies that a gateway.yaml without any of them has, for the comparison of faults."""

from collections.abc import Sequence
from typing import Any

TYPES = "type.googleapis.com/envoy.extensions"
ROUTER = f"{TYPES}.filters.http.router.v3.Router"
MANAGER = f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
PREVIOUS = "envoy.retry_host_predicates.previous_hosts"


def socket_address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


# `retry: {attempts: 2, on: [connect, reset, 503], budget: 20%}`; the budget is the cluster's.
RETRY = {
    "retry_on": "connect-failure,reset,retriable-status-codes",
    "retriable_status_codes": [503],
    "num_retries": 1,
    "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    "retry_host_predicate": [
        {"name": PREVIOUS, "typed_config": {"@type": f"{TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}
    ],
    "host_selection_retry_max_attempts": 5,
}
# `eject: {failures: 5, on: [connect, reset, timeout], rest: 10s, max_rest: 5m, most: 50%}`. Envoy looks each `interval`
# whether a rest is over, by default each 10 s. A gateway failure is a 502, 503 or 504, or a failure of Envoy's own that
# becomes one; no address here responds with these. With `split_external_local_origin_errors` an accepted connection
# would forgive the timeouts of an address that hangs.
EJECT = {
    "interval": "1s",
    "base_ejection_time": "10s",
    "max_ejection_time": "300s",
    "max_ejection_percent": 50,
    "consecutive_gateway_failure": 5,
    "enforcing_consecutive_gateway_failure": 100,
    "enforcing_consecutive_5xx": 0,
    "enforcing_success_rate": 0,
}


def config(port: int, addresses: Sequence[int], connect: float, total: float) -> dict[str, Any]:
    """Return the configuration of an Envoy at the port, in front of the ports of one service."""
    things = {"cluster": "things", "timeout": f"{total}s", "retry_policy": RETRY}
    routes = [
        # Whether Envoy has started.
        {"match": {"path": "/"}, "direct_response": {"status": 200}},
        {"match": {"prefix": "/"}, "route": things},
    ]
    manager = {
        "@type": MANAGER,
        "stat_prefix": "public",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoints = [{"endpoint": {"address": socket_address(each)}} for each in addresses]
    budget = {"budget_percent": {"value": 20}, "min_retry_concurrency": 3}
    cluster = {
        "name": "things",
        "connect_timeout": f"{connect}s",
        "lb_policy": "LEAST_REQUEST",
        "least_request_lb_config": {"choice_count": 4, "slow_start_config": {"slow_start_window": "10s"}},
        "outlier_detection": EJECT,
        "circuit_breakers": {"thresholds": [{"retry_budget": budget}]},
        "load_assignment": {"cluster_name": "things", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    listener = {"name": "public", "address": socket_address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
