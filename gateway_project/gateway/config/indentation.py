"""Explains syntax errors that come from the indentation: YAML's own message names the parser's state instead."""

import re
from typing import Final

# A line of a block mapping or a block list: the dashes of its items, then a key.
LINE: Final = re.compile(r"(?P<indent> *)(?P<dashes>(?:- +)*)(?P<key>[^\s#\[\]{},&*!|>%@`-][^:]*:(?=\s|$))?")


def indenting_tab(text: str, number: int, column: int) -> int | None:
    """Return the column of a tab that indents the line, or is where the error is."""
    line = line_of(text, number)
    indent = line[: len(line) - len(line.lstrip())]
    return indent.find("\t") + 1 or (column if line[column - 1 : column] == "\t" else None)


def misindented(text: str, number: int, column: int) -> tuple[int, str] | None:
    """Return the column and the message of a fault, `None` if the indentation is not the cause."""
    found = LINE.match(line_of(text, number))
    if not found or not (found["dashes"] or found["key"]) or column > found.end():
        return None
    levels = open_levels(text.splitlines()[: number - 1], is_item=bool(found["dashes"]))
    indent = len(found["indent"])
    if not levels or indent in levels:
        return None
    *others, last = [f"{level} as on line {line}" for level, line in levels.items()]
    levels_open = f"{', '.join(others)} or {last}" if others else last
    return indent + 1, f"{indent} {'space' if indent == 1 else 'spaces'} before this line. Use {levels_open}."


def open_levels(lines: list[str], *, is_item: bool) -> dict[int, int]:
    """Return the indentations at which a key, or an item, may follow these lines, each with its last line."""
    levels: dict[int, int] = {}
    lowest: int | None = None
    for number, line in reversed(list(enumerate(lines, 1))):
        found = LINE.match(line)
        if not found or not (found["dashes"] or found["key"]) or (lowest is not None and found.end("indent") >= lowest):
            continue
        lowest = found.end("indent")
        if is_item and found["dashes"]:
            levels.setdefault(lowest, number)
        elif not is_item and found["key"]:
            levels.setdefault(found.start("key"), number)
    return levels


def line_of(text: str, number: int) -> str:
    return dict(enumerate(text.splitlines(), 1)).get(number, "")
