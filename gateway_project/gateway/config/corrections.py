"""What may be meant by a value that is wrong, so that a fault can show what to write.

Each correction is one that the key takes: it has gone through the key's own parser.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from . import values
from .deprecation import Deprecated
from .resilience import Retry
from .section import Section

EVERYONE: Final = frozenset({"all", "anonymous", "any", "anybody", "anyone", "everybody", "everyone", "open", "*"})
Correction = Callable[[object], str | None]


def if_parsed(parse: Callable[[object], object], text: str) -> str | None:
    """Return the text if the parser accepts it."""
    with suppress(ValueError):
        parse(text)
        return text
    return None


def methods(value: object) -> str | None:
    """`GET` and `get, post` are lists."""
    names = re.split(r"[\s,]+", value.strip().upper()) if isinstance(value, str) else []
    return f"[{', '.join(names)}]" if names and all(name in values.METHODS for name in names) else None


def allow(value: object) -> str | None:
    """`admin` is a list of one role, `everyone` is public, `pubic` is a typing mistake."""
    if not isinstance(value, str):
        return None
    if value.lower() in values.KEYWORDS:
        return value.lower()
    if value.lower() in EVERYONE:
        return "public"
    if near := difflib.get_close_matches(value.lower(), values.KEYWORDS, n=1):
        return near[0]
    return f"[{value}]" if values.ROLE.fullmatch(value) else None


def duration(value: object) -> str | None:
    """`10` is seconds."""
    return if_parsed(values.duration, f"{value}s") if str(value).isdecimal() else None


def timeouts(value: object) -> str | None:
    """One duration is `total`."""
    total = duration(value) or (if_parsed(values.duration, value) if isinstance(value, str) else None)
    return f"{{total: {total}}}" if total else None


def max_body(value: object) -> str | None:
    """`1 mib` is 1MiB."""
    if not isinstance(value, str):
        return None
    text = value.replace(" ", "").lower()
    unit = next((unit for unit in sorted(values.BYTES, key=len, reverse=True) if text.endswith(unit.lower())), "")
    return if_parsed(values.size, text[: len(text) - len(unit)] + unit)


def rate_limit(value: object) -> str | None:
    """A number is requests a minute."""
    return if_parsed(values.rate, f"{value}/minute")


def path(value: object) -> str | None:
    """`<int:id>` and `{id:int}` are other frameworks' parameters."""
    if not isinstance(value, str):
        return None
    text = re.sub(r"<path:(\w+)>$", r"{\1...}", value)
    text = re.sub(r"<(?:\w+:)?(\w+)>|\{(\w+):[^{}]*\}", lambda found: f"{{{found[1] or found[2]}}}", text)
    return if_parsed(values.pattern, text)


def one_of(section: type[Section], key: str) -> Correction:
    """The value of this key is written as the whole section."""

    def correct(value: object) -> str | None:
        with suppress(ValueError):
            section.model_validate({key: value})
            return f"{{{key}: {value}}}"
        return None

    return correct


def url(value: object) -> str | None:
    """`localhost:8002` lacks a scheme, `http://x/` has a slash too many."""
    if not isinstance(value, str) or "@" in value:
        return None
    text = value if "://" in value else f"http://{value}"
    return if_parsed(values.url, text.rstrip("/"))


def flag(value: object) -> str | None:
    """`'true'` is text."""
    text = str(value).lower()
    return text if isinstance(value, str) and text in {"true", "false"} else None


def mapping_with(key: str) -> Correction:
    """A section of one key is written as a mapping too."""
    return lambda value: f"{{{key}: {value}}}" if isinstance(value, str) else None


OF_KEY: Final[dict[str, Correction]] = {
    "version": lambda value: "1" if value == "1" else None,
    "timeouts": timeouts,
    "connect": duration,
    "first_byte": duration,
    "total": duration,
    "max_body": max_body,
    "url": url,
    "current": lambda value: if_parsed(values.version, f"v{value}"),
    "versions": mapping_with("current"),
    "login": mapping_with("service"),
    "methods": methods,
    "allow": allow,
    "rate_limit": rate_limit,
    "rate": rate_limit,
    "path": path,
    "rewrite": path,
    "deprecated": one_of(Deprecated, "since"),
    "retry": one_of(Retry, "attempts"),
    "compress": flag,
    "audit": flag,
    "announce": flag,
    "websocket": flag,
    "pass_authorization": flag,
}


def correction(keys: Iterable[str], value: object) -> str:
    """Return what to write under the last of the keys that has corrections; empty if that is unknown."""
    key = next((key for key in reversed(list(keys)) if key in OF_KEY), "")
    # Booleans, which are numbers in Python, have no correction.
    found = OF_KEY[key](value) if key and not isinstance(value, bool) else None
    return f"; write {key}: {found}" if found else ""
