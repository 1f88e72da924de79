"""What is wrong with a gateway.yaml.

Exception
└── ConfigError         the file cannot be used; `faults` has the reasons, each with its position
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, with its line and column, both from 1. `message` states it, then what to do."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ConfigError(Exception):
    """The file cannot be used; `faults` are in the file's order. The message ends with their number."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n".join([*map(str, faults), count]))
        self.faults = faults
