"""The values of a policy as gateway.yaml writes them, on one line: secrets hidden, and without what is not set."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from .addresses import percentage
from .header_rules import HeaderRules
from .section import Section
from .values import BYTES, SECONDS, size

HIDDEN: Final = "(hidden)"


def written(section: Section, key: str) -> str:
    """Return the value of a section's key; a list at this level is without brackets."""
    value = getattr(section, key)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return value_of(value, type(section).model_fields[key])


def value_of(value: object, info: FieldInfo) -> str:
    """Return the value of a key; whether a number is a duration, a size or a share, the key's parser tells."""
    match value:
        case SecretStr():
            text = HIDDEN
        case HeaderRules():
            rules = [f"set {name}: {HIDDEN}" for name in value.set]
            text = ", ".join([*rules, *(f"remove {name}" for name in value.remove)])
        case Section():
            text = section_of(value)
        case bool():
            text = str(value).lower()
        case datetime():
            text = moment_of(value)
        case float():
            text = f"{value:.0%}" if is_parsed_by(percentage, info) else duration_of(value)
        case int() if is_parsed_by(size, info):
            text = size_of(value)
        case tuple():
            text = f"[{', '.join(map(str, value))}]"
        case _:
            text = str(value)
    return text


def section_of(section: Section) -> str:
    """Return the keys that are set, each with its value."""
    fields, parts, nested = type(section).model_fields, [], False
    for key, info in fields.items():
        value = getattr(section, key)
        text = "" if value in (None, (), False) else value_of(value, info)
        if text:
            parts.append(f"{key}: {text}")
            nested = nested or isinstance(value, Section)
    return ("; " if nested else ", ").join(parts)


def duration_of(seconds: float) -> str:
    """Return `250ms`, `1.5s` or `2m`."""
    unit = "ms" if seconds < 1 else "s" if seconds % 60 else "m"
    return f"{round(seconds / SECONDS[unit], 6):g}{unit}"


def moment_of(moment: datetime) -> str:
    """Return `2026-12-31`, or with a time of day `2026-12-31T12:00:00Z`."""
    return moment.isoformat().replace("T00:00:00+00:00", "").replace("+00:00", "Z")


def size_of(count: int) -> str:
    """Return `1MiB` or `100MB`: the largest unit of which it is a whole number; else the number of bytes."""
    fitting = [(number, unit) for unit, number in BYTES.items() if number > 1 and count and count % number == 0]
    number, unit = max(fitting, default=(1, ""))
    return f"{count // number}{unit}"


def is_parsed_by(parser: Callable[[Any], object], info: FieldInfo) -> bool:
    """Return whether a key's values are read by the parser; a key may be optional."""
    optional = (each for kind in get_args(info.annotation) for each in getattr(kind, "__metadata__", ()))
    return any(getattr(each, "func", None) is parser for each in (*info.metadata, *optional))
