"""What is wrong with a gateway.yaml.

Exception
└── ConfigError         the file cannot be used; `faults` says why, each with its place
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, where it stands (line and column from 1), what was found and what was expected."""

    file: str
    line: int
    column: int
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: got {self.value}; expected {self.expected}"


class ConfigError(Exception):
    """The file cannot be used; `faults` are all that was found, in the file's order. The message ends with a count."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n".join([*map(str, faults), count]))
        self.faults = faults
