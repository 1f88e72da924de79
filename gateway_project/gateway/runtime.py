"""What a process of the gateway is made of, built once and handed down.

`gateway_project.wsgi` builds it at the start of the process. Django's side finds it at the application's configuration
(`apps.GatewayConfig.runtime`), and each request at `request.gateway`.
"""

from dataclasses import dataclass

from django.conf import settings

from .config import Config
from .counters import Counters
from .gate import Gate
from .identity import key_storage
from .identity.authentication import Authentication
from .identity.credentials import LoginClient
from .identity.keys import Keys
from .identity.passports import Passports
from .identity.revocations import Revocations
from .identity.sessions import Sessions
from .identity.tokens import GatewayBackend
from .openapi.documents import Documents
from .policy.routes import RouteTable
from .readiness import Readiness
from .upstreams import Upstreams


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
    readiness: Readiness

    @classmethod
    def build(cls, config: Config) -> "Runtime":
        """Return the parts, wired; raise `OSError` or `ValueError` where the state directory cannot be used."""
        keys = Keys(key_storage.configured())
        token_backend = GatewayBackend(keys)
        upstreams = Upstreams(config.services, settings.STATE)
        passports = Passports(token_backend)
        login = LoginClient(config, upstreams, passports)
        revocations = Revocations(login)
        gate = Gate(
            RouteTable(config),
            Authentication(token_backend, revocations),
            passports,
            Counters(settings.STATE / "counters"),
            trusted_proxies=settings.TRUSTED_PROXIES,
            allowed_hosts=tuple(settings.ALLOWED_HOSTS),
        )
        return cls(
            config=config,
            keys=keys,
            token_backend=token_backend,
            upstreams=upstreams,
            login=login,
            sessions=Sessions(login, token_backend),
            revocations=revocations,
            gate=gate,
            documents=Documents(config, upstreams),
            readiness=Readiness(config, upstreams, keys, revocations),
        )
