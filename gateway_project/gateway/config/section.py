"""A mapping of the file, and how it is merged with the same mapping of an outer level."""

from collections.abc import Collection
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of the file. `example` is one in YAML, for the fault of a value of another type."""

    example: ClassVar[str]
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
