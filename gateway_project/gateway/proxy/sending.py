"""A request as its service gets it."""

from typing import TYPE_CHECKING

from gateway.admission import Decision
from gateway.upstreams import Forwarding, UpstreamRequest
from gateway.upstreams.traced import TracedForwarding

from .tunnels import is_handshake

if TYPE_CHECKING:
    from .exchange import Exchange


def validate(exchange: "Exchange", decision: Decision) -> None:
    body = bytes(exchange.body.beginning) if exchange.body.is_whole else None
    request, match = exchange.request, decision.match
    exchange.proxy.validation.check(match, request.method, request.query, request.headers.pairs, body)


def forwarding_of(exchange: "Exchange", decision: Decision) -> Forwarding:
    request, match, proxy = exchange.request, decision.match, exchange.proxy
    route, policies = match.prepared, match.policies
    if policies is not None:
        if policies.is_validated:
            validate(exchange, decision)
        if policies.deprecation is not None:
            proxy.calls.count(request.method, route.path, decision.identity, request.headers)
    handshake = (
        route.takes_websockets and request.method == "GET" and request.version == "1.1"
        and is_handshake(request.headers.pairs)
    )  # fmt: skip
    to_send = UpstreamRequest(
        route.service, request.method, decision.target, decision.own, exchange.body, route.timeouts,
        handshake, decision.host, decision.grant.block, None, match.route,
    )  # fmt: skip
    if proxy.tracer is not None and request.is_recorded:
        return TracedForwarding(proxy.pools, to_send, request.traceparent, proxy.tracer)
    return Forwarding(proxy.pools, to_send)
