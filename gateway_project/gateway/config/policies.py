"""What may be declared at `defaults`, at a service and at a route; the nearest wins, key by key."""

from collections.abc import Collection
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from .values import Duration, Size


class Section(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def over(self, outer: "Section", names: Collection[str]) -> Self:
        """Return this section; those of `names` that the file does not say here are taken from `outer`.

        A section in both is merged key by key. Lists and other values are taken whole.
        """
        update = {}
        for name in names:
            value, inherited = getattr(self, name), getattr(outer, name)
            if name not in self.model_fields_set:
                update[name] = inherited
            elif isinstance(value, Section) and isinstance(inherited, Section):
                update[name] = value.over(inherited, type(value).model_fields)
        return self.model_copy(update=update)


class Timeouts(Section):
    """How long the gateway waits for a service."""

    connect: Duration = Field(
        1.0, json_schema_extra={"default": "1s"}, description="How long a connection to the service may take."
    )
    first_byte: Duration | None = Field(
        None, description="How long the answer may take to begin, once the request is sent."
    )
    total: Duration = Field(
        10.0,
        json_schema_extra={"default": "10s"},
        description="How long the whole answer may take, connecting included.",
    )


class Policies(Section):
    """How requests are handled. A route's word is nearer than its service's, and that nearer than `defaults`."""

    timeouts: Timeouts = Field(Timeouts(), description="How long the gateway waits for a service.")
    max_body: Size = Field(
        2**20,
        json_schema_extra={"default": "1MiB"},
        description="The largest request body; a larger one is answered with 413.",
    )
