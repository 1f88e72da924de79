"""`headers` of gateway.yaml, prepared at load: which headers are replaced, removed and added."""

from collections.abc import Sequence

from gateway.config import HeaderRules as Rules

from .headers import Headers


class HeaderChanges:
    """The rules of one direction of a route."""

    __slots__ = ("added", "dropped")

    def __init__(self, rules: Rules) -> None:
        self.added: Headers = [(name, value.get_secret_value()) for name, value in rules.set.items()]
        # What is set replaces every header of that name.
        self.dropped = frozenset(name.lower() for name in (*rules.set, *rules.remove))

    @classmethod
    def of(cls, rules: Rules) -> "HeaderChanges | None":
        """Return the rules, `None` if nothing is set or removed."""
        return cls(rules) if rules.set or rules.remove else None

    def applied(self, pairs: Sequence[tuple[str, str]]) -> Headers:
        dropped = self.dropped
        return [*[header for header in pairs if header[0].lower() not in dropped], *self.added]
