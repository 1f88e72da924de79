"""The values of gateway.yaml that YAML has no type for: durations, sizes, rates, URLs, names.

Each parser raises `ValueError` that names what was expected.
"""

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from . import patterns

DURATION = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)(ms|s|m)")
SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
MAX_SECONDS: Final = 3600.0

SIZE = re.compile(r"([0-9]{1,15})(B|KB|KiB|MB|MiB|GB|GiB)?")
BYTES: Final = {"B": 1, "KB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}

RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
PERIODS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
A_RATE: Final = "a rate such as 10/second, 120/minute, 1000/hour or 5000/day"
MAX_BURST: Final = 10**9

# RFC 9110, section 5.6.2: the name of a header. `*` alone has another meaning where names are listed.
TOKEN = re.compile(r"(?!\*$)[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
LIMIT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
COUNTED_BY = re.compile(r"user|address|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|param:[A-Za-z_][A-Za-z0-9_]*")
ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
VERSION = re.compile(r"v[1-9][0-9]{0,8}")
SEGMENT: Final = r"[A-Za-z0-9._~!$&'()*+,;=:@-]+"
URL = re.compile(
    rf"https?://(?P<host>[A-Za-z0-9._-]+|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?(?P<base>(?:/{SEGMENT})*)"
)
PATH = re.compile(rf"/(?:{SEGMENT}/)*(?:{SEGMENT})?")

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
# HEAD comes with GET, and the gateway itself responds to OPTIONS unless a route asks for it.
EVERY_METHOD: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
# As text: what `${VAR}` is replaced by.
WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
KEYWORDS: Final = ("public", "authenticated")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`count` requests in `seconds`, of which `burst` may come at once: all of them if it is 0."""

    count: int
    seconds: float
    burst: int = 0

    @property
    def interval(self) -> float:
        """Seconds between requests at an even rate."""
        return self.seconds / self.count

    @property
    def window(self) -> float:
        """Seconds for which a whole burst uses up the rate."""
        return self.interval * self.burst if self.burst else self.seconds

    def __str__(self) -> str:
        period = next(name for name, seconds in PERIODS.items() if seconds == self.seconds)
        return f"{self.count}/{period}"


def text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(expected)  # noqa: TRY004  # pydantic reports ValueError, not TypeError
    return value


def matching(pattern: re.Pattern[str], expected: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not pattern.fullmatch(text(value, expected)):
            raise ValueError(expected)
        return str(value)

    return parse


def duration(value: object) -> float:
    """Return the seconds of `250ms`, `1s` or `2m`."""
    expected = "a duration such as 250ms, 1s or 2m, more than 0 and at most 60m"
    found = DURATION.fullmatch(text(value, expected))
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(expected)
    return seconds


def size(value: object) -> int:
    """Return the bytes of `512KiB`, `1MiB`, `100MB` or a plain number."""
    expected = "a size such as 512KiB, 1MiB, 100MB or a number of bytes"
    number = isinstance(value, int) and not isinstance(value, bool)
    found = SIZE.fullmatch(str(value) if number else text(value, expected))
    if not found:
        raise ValueError(expected)
    return int(found[1]) * BYTES[found[2] or "B"]


def rate(value: object, expected: str = A_RATE) -> RateLimit:
    """Return the limit of `120/minute`."""
    found = RATE.fullmatch(text(value, expected))
    if not found:
        raise ValueError(expected)
    return RateLimit(int(found[1]), PERIODS[found[2]])


def rate_limit(value: object) -> RateLimit | tuple[str, ...]:
    """Return the limit of a rate, or the names of limits."""
    expected = f"{A_RATE}, or the name of a limit, or a list of names"
    if isinstance(value, dict):
        raise ValueError(  # noqa: TRY004  # pydantic takes a TypeError for a bug
            f"{A_RATE}. A limit with `burst`, `by` or `announce` has a name: declare it under `limits` and name it here"
        )
    if isinstance(value, list | tuple):
        names = tuple(value)
        if wrong := [name for name in names if not (isinstance(name, str) and LIMIT_NAME.fullmatch(name))]:
            raise ValueError(f"only names of `limits` in it, which {wrong[0]!r} is not")
        if len(set(names)) < len(names):
            raise ValueError("each limit once")
        return names
    if isinstance(value, str) and LIMIT_NAME.fullmatch(value):
        return (value,)
    return rate(value, expected)


def burst(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < MAX_BURST:
        raise ValueError(f"a number of requests, more than 0 and less than {MAX_BURST:,}")
    return value


def url(value: object) -> str:
    expected = (
        "an http or https URL of a host, an optional port and an optional path without a slash at its end, "
        "such as http://127.0.0.1:8002"
    )
    found = URL.fullmatch(text(value, expected))
    if not found or not 0 < int(found["port"] or 80) < 2**16 or dotted(found["base"]):
        raise ValueError(expected)
    if found["v6"]:
        try:
            IPv6Address(found["v6"])
        except AddressValueError as exc:
            raise ValueError(expected) from exc
    return found[0]


def own_path(value: object) -> str:
    expected = "a path of the service's own, such as /openapi.json"
    path = text(value, expected)
    if not PATH.fullmatch(path) or dotted(path):
        raise ValueError(expected)
    return path


def dotted(path: str) -> bool:
    """Return whether the path has a `.` or `..` segment, even with a path parameter."""
    return any(segment.partition(";")[0] in patterns.DOTS for segment in path.split("/"))


def pattern(value: object) -> str:
    path = text(value, "a path such as /api/users/{id}")
    patterns.parse(path)
    return path


def keyword(value: object) -> str:
    if value not in KEYWORDS:
        raise ValueError("public, authenticated, or a list of roles such as [admin]")
    return str(value)


def role(value: object) -> str:
    if value in KEYWORDS:
        raise ValueError(f"a role; to allow more than roles, write allow: {value}")
    return matching(ROLE, "a role: a letter, then letters, digits, - and _")(value)


def one_of(value: object, known: tuple[str, ...]) -> str:
    """Return a word that is known; it may be a number, such as a status."""
    word = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if word not in known:
        hint = f"; did you mean {word.upper()}?" if isinstance(word, str) and word.upper() in known else ""
        raise ValueError(f"one of {', '.join(known)}{hint}")
    return str(word)


def several(values: tuple[Hashable, ...], none: str = "") -> tuple[Hashable, ...]:
    """Reject duplicates and, with the advice `none`, an empty list."""
    if not values and none:
        raise ValueError(none)
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise ValueError(f"each entry once; {', '.join(map(str, twice))} is there more often")
    return values


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004  # pydantic reports ValueError, not TypeError
    return value


def first_format(value: object) -> int:
    """Return the version of the file's format; reject `true`, which equals 1."""
    if isinstance(value, bool) or value != 1:
        raise ValueError("1, the only version of the format")
    return 1


def whole_number(value: object, least: int, most: int, what: str = "a whole number") -> int:
    """Return the number, which may be text from a variable."""
    number = int(value) if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value) else value
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise ValueError(f"{what} from {least} to {most}")
    return number


def number_schema(least: int, most: int) -> dict[str, Any]:
    """Return the JSON Schema of a whole number in that range, or any text with a `${VAR}`."""
    number = {"type": "integer", "minimum": least, "maximum": most}
    return {"anyOf": [number, {"type": "string", "pattern": rf"^{WHOLE_NUMBER.pattern}$|\$\{{"}]}


def whole(least: int, most: int, what: str = "a whole number") -> tuple[BeforeValidator, WithJsonSchema]:
    """Return what makes an `int` a whole number in that range."""
    parse = partial(whole_number, least=least, most=most, what=what)
    return BeforeValidator(parse), WithJsonSchema(number_schema(least, most))


def one_or_more(value: object) -> Any:  # noqa: ANN401  # whatever the file says; pydantic checks it next
    return value if isinstance(value, list | tuple) else (value,)


def schema(pattern: str, **keywords: object) -> WithJsonSchema:
    """Return the JSON Schema of text: the pattern, or any text with a `${VAR}`."""
    return WithJsonSchema({"type": "string", "pattern": rf"^(?:{pattern})$|\$\{{"} | keywords)


Duration = Annotated[float, BeforeValidator(duration), schema(DURATION.pattern, examples=["250ms", "1s", "2m"])]
Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": rf"^(?:{SIZE.pattern})$|\$\{{"}],
            "examples": ["512KiB", "1MiB", "100MB", 1048576],
        }
    ),
]
Rate = Annotated[RateLimit, BeforeValidator(rate), schema(RATE.pattern, examples=["10/second", "120/minute"])]
RateLimits = Annotated[
    RateLimit | tuple[str, ...],
    BeforeValidator(rate_limit),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": rf"^(?:{RATE.pattern}|{LIMIT_NAME.pattern})$|\$\{{"},
                {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {"type": "string", "pattern": rf"^{LIMIT_NAME.pattern}$|\$\{{"},
                },
            ],
            "examples": ["120/minute", "per_user", ["per_user", "per_address"]],
        }
    ),
]
LimitName = Annotated[
    str,
    BeforeValidator(
        matching(LIMIT_NAME, "a limit's name: a lower-case letter, then lower-case letters, digits, _ and -")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{LIMIT_NAME.pattern}$"}),
]
Burst = Annotated[
    int, BeforeValidator(burst), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_BURST - 1})
]
CountedBy = Annotated[
    str,
    BeforeValidator(matching(COUNTED_BY, "user, address, header:NAME or param:NAME")),
    schema(COUNTED_BY.pattern, examples=["user", "address", "header:X-Api-Key", "param:id"]),
]
OwnPath = Annotated[str, BeforeValidator(own_path), schema("/.*", examples=["/openapi.json", "/healthz"])]
PathPattern = Annotated[str, BeforeValidator(pattern), schema("/.*", examples=["/api/users/{id}", "/admin/{path...}"])]
ServiceName = Annotated[
    str,
    BeforeValidator(matching(NAME, "a service's name: a lower-case letter, then lower-case letters, digits and -")),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"}),
]
ServiceReference = Annotated[
    str, BeforeValidator(lambda value: text(value, "the name of a service")), WithJsonSchema({"type": "string"})
]
Flag = Annotated[bool, BeforeValidator(flag), WithJsonSchema({"type": "boolean"})]
FormatVersion = Annotated[int, BeforeValidator(first_format), WithJsonSchema({"const": 1})]
version = matching(VERSION, "a version such as v1")
ApiVersion = Annotated[str, BeforeValidator(version), schema(VERSION.pattern, examples=["v1"])]
Role = Annotated[str, BeforeValidator(role), WithJsonSchema({"type": "string", "pattern": f"^{ROLE.pattern}$|\\$\\{{"})]
Method = Annotated[str, BeforeValidator(partial(one_of, known=METHODS)), WithJsonSchema({"enum": list(METHODS)})]
NOT_EMPTY: Final = Field(json_schema_extra={"minItems": 1, "uniqueItems": True})
Methods = Annotated[
    tuple[Method, ...],
    AfterValidator(partial(several, none="at least one method; leave `methods` out for all but HEAD and OPTIONS")),
    NOT_EMPTY,
]
Roles = Annotated[
    tuple[Role, ...],
    AfterValidator(partial(several, none="at least one role, such as [admin], or public or authenticated")),
    NOT_EMPTY,
]
Keyword = Annotated[str, BeforeValidator(keyword), WithJsonSchema({"enum": list(KEYWORDS)})]
