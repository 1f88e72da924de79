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
    """The file cannot be used; `faults` are all that was found, in the file's order."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults
