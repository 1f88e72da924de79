"""The options in the setting GATEHOUSE, each with its default. docs/service.md lists them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

PASSPORT_HEADERS = ("Authorization", "X-Gatehouse-Passport")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SERVICE_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Options:
    service: str  # the service's name in gateway.yaml: the audience of its passports, the origin of its problems
    gateway: str = "http://127.0.0.1:8001"  # where this service reaches the gateway
    jwks_url: str = ""  # the gateway's public keys, if they are not at GATEWAY/.well-known/jwks.json
    passport_header: str = "Authorization"  # or X-Gatehouse-Passport, for a service with `pass_authorization`
    issuer: str = "gatehouse"  # the gateway's TOKEN_ISSUER
    leeway: int = 2  # seconds by which the clocks of two machines may differ
    max_body: int = 1024 * 1024  # bytes of a request body
    health_path: str = "/healthz"  # "" turns the endpoint off
    live_path: str = "/livez"  # "" turns the endpoint off
    ready_path: str = "/readyz"  # "" turns the endpoint off
    openapi_path: str = "/openapi.json"  # "" turns the endpoint off
    log_level: str = "INFO"  # of the JSON log lines that replace an empty LOGGING
    polled_paths: frozenset[str] = frozenset()  # their requests are logged at DEBUG if they succeed

    @property
    def keys_url(self) -> str:
        return self.jwks_url or f"{self.gateway.rstrip('/')}/.well-known/jwks.json"


KNOWN: dict[str, Any] = {field.name.upper(): field.type for field in fields(Options)}


class Fault(NamedTuple):
    """What is wrong with the setting, and what to do about it. `number` identifies the check."""

    number: int
    message: str
    hint: str


def find_faults(value: object) -> list[Fault]:
    if not isinstance(value, dict):
        return [
            Fault(1, "GATEHOUSE is missing or not a dict.", 'Set GATEHOUSE = {"SERVICE": "name"} in the settings file.')
        ]
    faults = [_unknown(key) for key in value if key not in KNOWN]
    if "SERVICE" not in value:
        faults.append(Fault(3, "GATEHOUSE has no SERVICE.", "Set SERVICE to the service's name in gateway.yaml."))
    for key, (is_good, hint) in _RULES.items():
        if key in value and not is_good(value[key]):
            faults.append(Fault(4, f"GATEHOUSE[{key!r}] is {value[key]!r}.", hint))
    return faults


def _unknown(key: object) -> Fault:
    close = get_close_matches(str(key).upper(), KNOWN, n=1)
    hint = f"Write {close[0]}." if close else f"Remove it. The options are {', '.join(KNOWN)}."
    return Fault(2, f"GATEHOUSE has an unknown option {key!r}.", hint)


def _is_http_url(value: object) -> bool:
    try:
        parts = urlsplit(str(value))
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value[:1] in {"", "/"}


_URL = "Use an http:// or https:// URL, such as http://127.0.0.1:8001."
_COUNT = "Use a whole number that is not negative."
_PATH = "Begin it with /, or use an empty string to turn it off."
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "SERVICE": (
        lambda name: isinstance(name, str) and bool(SERVICE_NAME.fullmatch(name)),
        "Use the service's name in gateway.yaml: lowercase letters, digits and hyphens.",
    ),
    "GATEWAY": (_is_http_url, _URL),
    "JWKS_URL": (lambda url: url == "" or _is_http_url(url), _URL),
    "PASSPORT_HEADER": (
        lambda name: name in PASSPORT_HEADERS,
        f"Use {' or '.join(PASSPORT_HEADERS)}, as gateway.yaml has it.",
    ),
    "ISSUER": (lambda issuer: isinstance(issuer, str), "Use the gateway's TOKEN_ISSUER."),
    "LEEWAY": (_is_count, _COUNT),
    "MAX_BODY": (_is_count, _COUNT),
    "HEALTH_PATH": (_is_path, _PATH),
    "LIVE_PATH": (_is_path, _PATH),
    "READY_PATH": (_is_path, _PATH),
    "OPENAPI_PATH": (_is_path, _PATH),
    "LOG_LEVEL": (lambda level: level in LOG_LEVELS, f"Use one of {', '.join(LOG_LEVELS)}."),
    "POLLED_PATHS": (lambda paths: isinstance(paths, list | tuple | set | frozenset), "Use a list of paths."),
}


@cache
def options() -> Options:
    """Return the options; raise `ImproperlyConfigured` if GATEHOUSE is wrong."""
    given: Any = getattr(settings, "GATEHOUSE", None)
    faults = find_faults(given)
    if faults:
        raise ImproperlyConfigured(" ".join(f"{fault.message} {fault.hint}" for fault in faults))
    values: dict[str, Any] = {
        key.lower(): frozenset(value) if KNOWN[key] == frozenset[str] else value for key, value in given.items()
    }
    return Options(**values)


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "GATEHOUSE":
        options.cache_clear()


setting_changed.connect(_forget)  # as django.test.override_settings sends it
