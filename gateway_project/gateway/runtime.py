"""What a process of the gateway is made of, built once and handed down.

`gateway_project.wsgi` builds it at the start of the process. Django's side finds it at the application's configuration
(`apps.GatewayConfig.runtime`), and each request at `request.gateway`.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.conf import settings

from .admission import Decision, Request
from .config import Config
from .counters import Counters
from .gate import Gate
from .history import History
from .identity import key_storage
from .identity.authentication import Authentication
from .identity.credentials import LoginClient
from .identity.keys import Keys
from .identity.passports import Passports
from .identity.revocations import Revocations
from .identity.sessions import Sessions
from .identity.tokens import GatewayBackend
from .openapi.documents import Documents
from .openapi.validation import Validation
from .policy.routes import Match, RouteTable
from .readiness import Readiness
from .recent_problems import RecentProblems
from .tracing import make_tracer
from .upstreams import Upstreams

if TYPE_CHECKING:
    from .shared_counters import SharedCounters


@dataclass(frozen=True)
class Runtime:
    """The parts, by one configuration."""

    config: Config
    keys: Keys
    token_backend: GatewayBackend
    upstreams: Upstreams
    login: LoginClient
    sessions: Sessions
    revocations: Revocations
    gate: Gate
    documents: Documents
    validation: Validation
    readiness: Readiness
    problems: RecentProblems
    history: History

    def successor(self, config: Config) -> "Runtime":
        """Return the parts by another configuration. What does not depend on it is the same in both.

        Connections, counts of limits, verified tokens and the knowledge of ended sessions stay. `retire` ends the rest.
        """
        upstreams = Upstreams(config.services, settings.STATE, self.upstreams.tracer)
        upstreams.succeed(self.upstreams)
        login = LoginClient(config, upstreams, self.login.passports)
        documents = Documents(config, upstreams)
        documents.succeed(self.documents)
        validation = Validation(documents)
        shared = self.gate.shared or shared_counters(config, self.gate.counters)
        gate = gate_of(config, self.gate.authentication, self.gate.passports, self.gate.counters, shared)
        return replace(
            self,
            config=config,
            upstreams=upstreams,
            login=login,
            sessions=Sessions(login, self.token_backend),
            gate=gate,
            documents=documents,
            validation=validation,
            readiness=Readiness(
                config, upstreams, self.keys, self.revocations, shared, document_states=validation.states
            ),
        )

    def retire(self, following: "Runtime") -> None:
        """Give way to a successor, on the event loop: requests under way continue with these parts."""
        self.revocations.login = following.login
        following.upstreams.pools.retire(self.upstreams.pools)

    @classmethod
    def build(cls, config: Config) -> "Runtime":
        """Return the parts, wired; raise `OSError` or `ValueError` where the state directory cannot be used."""
        keys = Keys(key_storage.configured())
        token_backend = GatewayBackend(keys)
        upstreams = Upstreams(config.services, settings.STATE, make_tracer())
        passports = Passports(token_backend)
        login = LoginClient(config, upstreams, passports)
        revocations = Revocations(login)
        counters = Counters(settings.STATE / "counters")
        shared = shared_counters(config, counters)
        gate = gate_of(config, Authentication(token_backend, revocations), passports, counters, shared)
        documents = Documents(config, upstreams)
        validation = Validation(documents)
        return cls(
            config=config,
            keys=keys,
            token_backend=token_backend,
            upstreams=upstreams,
            login=login,
            sessions=Sessions(login, token_backend),
            revocations=revocations,
            gate=gate,
            documents=documents,
            validation=validation,
            readiness=Readiness(config, upstreams, keys, revocations, shared, document_states=validation.states),
            problems=RecentProblems(settings.STATE / "problems.jsonl"),
            history=History(settings.STATE / "history"),
        )

    def authorize(self, request: Request, match: Match) -> Decision:
        """Return what the service receives, from a thread; raise `RequestRejected`."""
        if self.gate.shared is None or match.limits is None:
            return self.gate.authorize(request, match)
        return self.upstreams.run(self.gate.authorize_shared(request, match))


def gate_of(
    config: Config,
    authentication: Authentication,
    passports: Passports,
    counters: Counters,
    shared: "SharedCounters | None",
) -> Gate:
    return Gate(
        RouteTable(config),
        authentication,
        passports,
        counters,
        shared=shared,
        trusted_proxies=settings.TRUSTED_PROXIES,
        allowed_hosts=tuple(settings.ALLOWED_HOSTS),
        sampler=settings.TRACES_SAMPLER,
        accepts_baggage=settings.ACCEPT_BAGGAGE,
    )


def shared_counters(config: Config, local: Counters) -> "SharedCounters | None":
    """Return the counts that machines share, if `REDIS_URL` names a server and the file has limits."""
    if settings.REDIS_URL is None or not any(route.rate_limit for route in config.routes):
        return None
    from .shared_counters import SharedCounters  # its client is imported only where it is used

    return SharedCounters(settings.REDIS_URL, local, settings.REDIS_TIMEOUT)
