"""`headers`: what is set and removed of requests to services and of their responses."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from .cors import name_of_header
from .section import Section
from .values import several

VALUE: Final = re.compile(r"[!-~](?:[ -~]{0,8000}[!-~])?")
FRAMING: Final = "it belongs to one connection, or frames the body, so each side sends its own"
NEIGHBOURS: Final = (
    "connection", "content-length", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip
USER: Final = "the gateway sends the user and the passport there; send a key under another name, such as X-Api-Key"
CLIENT: Final = "the gateway sends there where the request comes from"
# Names that a rule must not have, each with the reason.
OF_REQUESTS: Final[dict[str, str]] = {
    **dict.fromkeys(NEIGHBOURS, FRAMING),
    **dict.fromkeys(("authorization", "request-user-id", "x-gatehouse-passport"), USER),
    **dict.fromkeys(
        ("forwarded", "traceparent", "tracestate", "via", "x-forwarded", "x-real-ip", "x-request-id"), CLIENT
    ),
    "host": "the service's key `host` decides on it",
}
OF_RESPONSES: Final[dict[str, str]] = {
    **dict.fromkeys(NEIGHBOURS, FRAMING),
    "audit-detail": "the gateway takes it into its audit trail and sends it to no client",
    "content-encoding": "it has to match the body; write `compress: true` to have bodies compressed",
    "vary": "the gateway adds to the value of the service",
    "via": "the gateway sends there what a response came through",
    "x-request-id": "the gateway sends its own",
}
ONLY_REMOVED: Final[dict[str, str]] = {
    **dict.fromkeys(("deprecation", "sunset"), "write `deprecated`"),
    "set-cookie": "it would replace each cookie of the service; it can be removed",
}


def rule_name(owned: Mapping[str, str], prefixes: Mapping[str, str]) -> Callable[[object], str]:
    """Return a parser of the names that a rule may have."""

    def parse(value: object) -> str:
        name = name_of_header(value)
        lower = name.lower()
        reason = owned.get(lower) or next((why for prefix, why in prefixes.items() if lower.startswith(prefix)), None)
        if reason:
            raise ValueError(f"a header that is not the gateway's own: {reason}")
        return name

    return parse


def request_name(value: object) -> str:
    """Reject underscores too: a service behind WSGI takes both spellings for one name."""
    name = own_request_name(value)
    if "_" in name:
        plain = name.replace("_", "-")
        raise ValueError(f"a name without underscores, which WSGI cannot tell from hyphens; write {plain}")
    return name


def header_value(value: object) -> str:
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(written, str) or not VALUE.fullmatch(written):
        raise ValueError("printable ASCII without spaces at its ends, in quotes unless it is a word or a number")
    return written


def once(names: Collection[str]) -> Collection[str]:
    """Reject a name that is there twice, in whatever case."""
    several(tuple(name.lower() for name in names))
    return names


own_request_name = rule_name(OF_REQUESTS, {"x-forwarded-": CLIENT})
CORS: Final = {"access-control-": "write `cors`"}
NAME_SCHEMA: Final = WithJsonSchema({"type": "string"})
RequestName = Annotated[str, BeforeValidator(request_name), NAME_SCHEMA]
ResponseName = Annotated[str, BeforeValidator(rule_name(OF_RESPONSES | ONLY_REMOVED, CORS)), NAME_SCHEMA]
RemovedName = Annotated[str, BeforeValidator(rule_name(OF_RESPONSES, CORS)), NAME_SCHEMA]
# Secret: it may be a key, so that no message and no representation shows it.
Value = Annotated[SecretStr, BeforeValidator(header_value), WithJsonSchema({"type": ["string", "integer"]})]


class HeaderRules(Section):
    """What is set and removed; merged by name, so that a nearer level changes one header and keeps the others."""

    example: ClassVar[str] = "{set: {X-Frame-Options: DENY}}"
    set: Mapping[str, Value]
    remove: tuple[str, ...]

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        once(self.set)
        once(self.remove)
        both = {name.lower() for name in self.set} & {name.lower() for name in self.remove}
        if both:
            raise ValueError(f"each name once; {', '.join(sorted(both))} is under `set` and `remove`")
        return self

    def over(self, outer: Section, names: Collection[str]) -> Self:
        """Return these rules, and those of `outer` for other names."""
        if not isinstance(outer, HeaderRules):
            return super().over(outer, names)
        mine = {name.lower() for name in (*self.set, *self.remove)}
        inherited = {name: value for name, value in outer.set.items() if name.lower() not in mine}
        removed = tuple(name for name in outer.remove if name.lower() not in mine)
        return self.model_copy(update={"set": inherited | dict(self.set), "remove": (*removed, *self.remove)})


EMPTY: Final[JsonDict] = {"default": {}}


class RequestRules(HeaderRules):
    """Of requests to the service."""

    set: Mapping[RequestName, Value] = Field(
        {}, json_schema_extra=EMPTY, description="The request headers that the service is sent, each by its value."
    )
    remove: Annotated[tuple[RequestName, ...], AfterValidator(once)] = Field(
        (), json_schema_extra={"default": []}, description="The client's headers that the service is not sent."
    )


class ResponseRules(HeaderRules):
    """Of the service's responses."""

    set: Mapping[ResponseName, Value] = Field(
        {}, json_schema_extra=EMPTY, description="The response headers that the client is sent, each by its value."
    )
    remove: Annotated[tuple[RemovedName, ...], AfterValidator(once)] = Field(
        (), json_schema_extra={"default": []}, description="The service's headers that the client is not sent."
    )


class HeaderPolicy(Section):
    """What the gateway changes of a service's requests and responses."""

    example: ClassVar[str] = "{response: {set: {X-Frame-Options: DENY}}}"
    request: RequestRules = Field(RequestRules(), description="What is changed of requests to the service.")
    response: ResponseRules = Field(ResponseRules(), description="What is changed of the service's responses.")
