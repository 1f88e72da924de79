"""A JSON response as rows of a table or as the fields of one object. No I/O.

Of a response that is cut off, the rows that are whole are read.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

MAX_ROWS: Final = 100
MAX_COLUMNS: Final = 14
MAX_CELL: Final = 200  # characters
START: Final = re.compile(r'\s*(?:\[|\{(?:[^{}\[\]]*,)?\s*"results"\s*:\s*\[)')
SPACE: Final = re.compile(r"[\s,]*")
# RFC 3339.
TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
WEB: Final = re.compile(r'https?://[^\s"<>\\]+')


class Number(str):
    """A number as the service wrote it."""

    __slots__ = ()


@dataclass
class Cell:
    """A value: `kind` is text, time, link, flag, number, empty or json."""

    text: str
    kind: str = "text"
    href: str = ""


@dataclass
class Table:
    """The rows of a list. `more` tells that there are others in the response; `paging` are the links of the page."""

    columns: list[str]
    rows: list[list[Cell]]
    values: list[Any]
    more: bool = False
    paging: dict[str, str] = field(default_factory=dict)


def parsed(text: str) -> Any:  # noqa: ANN401  # JSON
    """Return the JSON with its numbers as written; None if it is not JSON."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


_DECODER: Final = json.JSONDecoder(parse_float=Number, parse_int=Number)


def table_of(data: Any, text: str, *, is_cut: bool) -> Table | None:  # noqa: ANN401  # JSON
    """Return the list of a response, a bare one or that of a page, as a table; None for another response."""
    rows = _whole_rows(text) if is_cut else data.get("results") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows[:MAX_ROWS]):
        return None
    shown = rows[:MAX_ROWS]
    columns = list(dict.fromkeys(name for row in shown for name in row))[:MAX_COLUMNS]
    cells = [[cell_of(row[name]) if name in row else Cell("", "empty") for name in columns] for row in shown]
    found = Table(columns, cells, shown, more=is_cut or len(rows) > len(shown))
    if isinstance(data, dict):
        found.paging = {
            name: data[name] for name in ("previous", "next") if isinstance(data.get(name), str) and data[name]
        }
    return found


def _whole_rows(text: str) -> list[Any] | None:
    start = START.match(text)
    if start is None:
        return None
    rows: list[Any] = []
    at = start.end()
    try:
        while len(rows) <= MAX_ROWS:
            value, at = _DECODER.raw_decode(text, SPACE.match(text, at).end())  # type: ignore[union-attr]  # it matches
            rows.append(value)
    except (ValueError, RecursionError):
        pass
    return rows


def cell_of(value: Any) -> Cell:  # noqa: ANN401  # JSON
    """Return a value as a cell."""
    if value is None or value == "":
        return Cell("", "empty")
    if isinstance(value, bool):
        return Cell("Yes" if value else "No", "flag")
    if not isinstance(value, str):
        return Cell(_shortened(json.dumps(plain(value), ensure_ascii=False)), "json")
    if isinstance(value, Number):
        return Cell(_shortened(value), "number")
    if TIME.fullmatch(value):
        return Cell(value, "time")
    is_link = WEB.fullmatch(value)
    return Cell(_shortened(value), "link" if is_link else "text", value if is_link else "")


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}…"


def plain(value: Any) -> Any:  # noqa: ANN401  # JSON
    """Return the JSON with numbers for the texts that they were written as."""
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value
