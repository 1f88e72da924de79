"""Every setting of the gateway project: an environment variable, read and checked here and nowhere else."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from chassis import environment
from chassis.environment import INSECURE_SECRET_KEY, AbsolutePath, BindAddress, DatabaseURL

# Addresses that listen on all interfaces. No client can use them as a host.
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104

REDIS_URL = re.compile(
    r"rediss?://(?:[^@/\s]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[0-9]{0,4})?(?:\?\S*)?"
    r"|unix://\S*/\S+"
)
Network = IPv4Network | IPv6Network


def networks(value: object) -> object:
    """Return the networks between the commas; reject other text, with the network that may be meant."""
    if not isinstance(value, str):
        return value
    return tuple(network(word.strip()) for word in value.split(",") if word.strip())


def network(word: str) -> Network:
    """Return one network."""
    try:
        return ip_network(word)
    except ValueError as exc:
        try:
            near = f"; write {ip_network(word, strict=False)} for the network of {word}"
        except ValueError:
            near = ""
        raise ValueError(f"expected networks such as 10.0.0.0/8 or ::1/128, separated by commas{near}") from exc


def hosts(value: object) -> object:
    """Return the host names between the commas, at least one."""
    if not isinstance(value, str):
        return value
    names = tuple(word.strip() for word in value.split(",") if word.strip())
    if not names:
        raise ValueError("expected host names such as api.example.org, separated by commas")
    return names


def redis_server(value: str) -> str:
    """Return the URL of a Redis server; its port and database are numbers."""
    if not REDIS_URL.fullmatch(value):
        raise ValueError("expected a URL such as redis://host:6379/0, rediss://user:password@host or unix:///path")
    return value


RedisURL = Annotated[str, AfterValidator(redis_server)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(networks)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(hosts)]


class Environment(environment.Environment):
    """The variables are the fields' names in capitals. A bad value raises `ImproperlyConfigured` in `read`."""

    gatehouse_var: AbsolutePath = Field(
        Path(__file__).resolve().parents[2] / "var", description="Directory of all state: databases, keys, logs."
    )
    gateway_bind: BindAddress = Field("127.0.0.1", description="Address the gateway listens on.")
    gateway_workers: int = Field(
        environment.cores(), ge=1, le=256, description="Processes of the gateway; by default one a core."
    )
    drain_seconds: int = Field(
        0, ge=0, le=3600, description="Seconds for which a gateway that is stopped serves on while /readyz is 503."
    )
    gateway_secret_key: str = Field(
        INSECURE_SECRET_KEY, min_length=32, description="Django's SECRET_KEY of the gateway project."
    )
    gateway_config: AbsolutePath = Field(
        Path(__file__).resolve().parents[1] / "gateway.yaml", description="Path of gateway.yaml."
    )
    gateway_watch: bool = Field(
        False, description="Whether a changed gateway.yaml is taken up without a reload, if it has no fault."
    )
    gateway_allowed_hosts: Hosts = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Host names the gateway answers to, separated by commas; `.example.org` takes in subdomains. "
        "GATEWAY_BIND's is one of the default's.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Networks (CIDR, separated by commas) of proxies in front, whose X-Forwarded-* are believed.",
    )
    accept_baggage: bool = Field(
        False, description="Whether the header `baggage` of clients is forwarded; that of TRUSTED_PROXIES is."
    )
    metrics_networks: Networks = Field(
        (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
        description="Networks (CIDR, separated by commas) that may read /metrics.",
    )
    max_header_bytes: int = Field(
        65_536, ge=8_192, le=1_048_576, description="Bytes of all header fields of a request; more is 431."
    )
    max_header_field_bytes: int = Field(
        8_190, ge=1_024, le=1_048_576, description="Bytes of one header field of a request; more is 431."
    )
    max_header_fields: int = Field(
        100, ge=20, le=1_000, description="Number of header fields of a request; more is 431."
    )
    access_token_ttl: int = Field(900, ge=1, le=86400, description="Seconds an access token is valid.")
    refresh_token_ttl: int = Field(
        14 * 86400, ge=60, le=365 * 86400, description="Seconds a session lives without being refreshed."
    )
    refresh_grace: int = Field(
        0,
        ge=0,
        le=300,
        description="Seconds for which a refresh token that was used buys the same next one again; 0: never.",
    )
    gateway_keys: AbsolutePath | None = Field(
        None,
        description="Directory of signing keys (`NAME.pem`) that are made elsewhere, such as a mounted Secret; it is "
        "never written.",
    )
    gateway_keys_secret: str | None = Field(
        None,
        min_length=32,
        repr=False,
        description="Keeps the signing keys in the gateway's database, encrypted with this, so that all replicas "
        "have them.",
    )
    key_lead_time: int = Field(
        600, ge=2, le=7 * 86400, description="Seconds for which a new key is published before it signs."
    )
    login_free_tries: int = Field(
        5, ge=1, le=1000, description="Sign-ins of a username that may fail before one has to wait, longer each time."
    )
    login_free_tries_per_address: int = Field(
        20, ge=1, le=100_000, description="The same of a client address (IPv6: its /64), for all usernames together."
    )
    login_longest_wait: int = Field(
        900, ge=1, le=86400, description="Seconds of the longest wait; each time it goes by, one failure is forgiven."
    )

    redis_url: RedisURL | None = Field(
        None,
        repr=False,
        description="Redis or Valkey in which several machines count rate limits together: "
        "`redis://user:password@host:6379/0`.",
    )
    redis_timeout: int = Field(
        100, ge=1, le=10_000, description="Milliseconds for which a request waits for a response of REDIS_URL."
    )
    audit_days: int = Field(90, ge=1, le=3650, description="Days for which entries of the audit trail are kept.")
    gateway_database_url: DatabaseURL | None = Field(
        None, repr=False, description="The same for the gateway project alone."
    )

    @model_validator(mode="after")
    def _a_field_is_a_part_of_all(self) -> Self:
        if self.max_header_field_bytes > self.max_header_bytes:
            raise ValueError("MAX_HEADER_FIELD_BYTES is more than MAX_HEADER_BYTES; raise MAX_HEADER_BYTES too")
        return self


def read() -> Environment:
    """Return the checked environment; raise `ImproperlyConfigured` that names every variable with a bad value."""
    env = environment.read_environment(Environment)
    if "gateway_allowed_hosts" in env.model_fields_set or env.gateway_bind in WILDCARDS:
        return env
    own = f"[{env.gateway_bind}]" if ":" in env.gateway_bind else env.gateway_bind
    names = dict.fromkeys((*env.gateway_allowed_hosts, own))
    return env.model_copy(update={"gateway_allowed_hosts": tuple(names)})
