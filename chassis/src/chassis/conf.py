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
    return faults + [fault for key, given in value.items() if key in KNOWN and (fault := _bad_value(key, given))]


def _unknown(key: object) -> Fault:
    close = get_close_matches(str(key).upper(), KNOWN, n=1)
    hint = f"Write {close[0]}." if close else f"Remove it. The options are {', '.join(KNOWN)}."
    return Fault(2, f"GATEHOUSE has an unknown option {key!r}.", hint)


def _bad_value(key: str, given: Any) -> Fault | None:  # noqa: ANN401  # whatever a settings file holds
    wrong = f"GATEHOUSE[{key!r}] is {given!r}."
    kind = KNOWN[key]
    types, name = _TYPES[kind]
    if not isinstance(given, types) or isinstance(given, bool):
        return Fault(4, wrong, f"Set it to {name}.")
    rule = _RULES[kind] if kind is int else _RULES.get(key)
    return None if rule is None or rule.is_met(given) else Fault(rule.number, wrong, rule.hint)


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


_TYPES: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a string"),
    int: ((int,), "a whole number"),
    frozenset[str]: ((list, tuple, set, frozenset), "a list of paths"),
}


class _Rule(NamedTuple):
    number: int
    is_met: Callable[[Any], bool]
    hint: str


_URL = _Rule(6, _is_http_url, "Use an http:// or https:// URL, such as http://127.0.0.1:8001.")
_PATH = _Rule(7, lambda text: not text or text[0] == "/", "Begin it with /, or use an empty string to turn it off.")
_RULES: dict[Any, _Rule] = {
    "SERVICE": _Rule(
        5,
        lambda text: bool(SERVICE_NAME.fullmatch(text)),
        "Use the service's name in gateway.yaml: lowercase letters, digits and hyphens.",
    ),
    "GATEWAY": _URL,
    "JWKS_URL": _URL._replace(is_met=lambda text: not text or _is_http_url(text)),
    "HEALTH_PATH": _PATH,
    "OPENAPI_PATH": _PATH,
    int: _Rule(8, lambda number: number >= 0, "Use a number that is not negative."),
    "PASSPORT_HEADER": _Rule(
        10, lambda text: text in PASSPORT_HEADERS, f"Use {' or '.join(PASSPORT_HEADERS)}, as gateway.yaml has it."
    ),
    "LOG_LEVEL": _Rule(9, lambda text: text in LOG_LEVELS, f"Use one of {', '.join(LOG_LEVELS)}."),
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
