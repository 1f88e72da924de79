"""Networks in gateway.yaml: the addresses of clients."""

from contextlib import suppress
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from .values import one_or_more, several, text

EXPECTED: Final = "a network such as 10.0.0.0/8, or an address such as 192.0.2.7"
SCHEMA: Final = {"type": "string", "pattern": r"^[0-9a-fA-F:./]+$|\$\{"}


def network(value: object) -> IPv4Network | IPv6Network:
    """Return one network; reject one with bits of an address in it, with the network that may be meant."""
    written = text(value, EXPECTED)
    try:
        return ip_network(written)
    except ValueError:
        near = ""
        with suppress(ValueError):
            near = f"; write {ip_network(written, strict=False)} for the network of {written}"
        raise ValueError(EXPECTED + near) from None


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(network), WithJsonSchema(SCHEMA)]
Networks = Annotated[
    tuple[Network, ...],
    BeforeValidator(one_or_more),
    AfterValidator(partial(several, none="")),
    WithJsonSchema({"anyOf": [SCHEMA, {"type": "array", "items": SCHEMA, "uniqueItems": True}]}),
    Field(json_schema_extra={"default": []}),
]
