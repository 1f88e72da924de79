"""What stands in a file of users, place by place; of users it knows the columns alone."""

import csv
import io
import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .exports import COLUMNS

NUMBERS = {"id", "created_by", "session_epoch"}
# As JSON, SQLite and PostgreSQL write them.
BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
# Digits of a whole number that is read as one. Every id has fewer, and Python refuses to read a few thousand.
MAX_DIGITS = 30
SEPARATORS = {";": "semicolons", "\t": "tabs"}
OTHERS = {
    BOM_UTF16_LE: "UTF-16: `iconv -f utf-16 -t utf-8` makes it",
    BOM_UTF16_BE: "UTF-16: `iconv -f utf-16 -t utf-8` makes it",
    b"\x1f\x8b": "a gzip archive: `gunzip` makes it",
    b"PK\x03\x04": "a zip archive, as a spreadsheet is one: save it as CSV",
}
ENCODING = "expected text in UTF-8: `iconv -f latin1 -t utf-8`, or what its encoding is, makes it"


@dataclass(frozen=True)
class Entry:
    """What stands at one place of the file, as `line 3` or `entry 3`; or why nothing can be read there."""

    place: str
    value: object = None
    fault: str = ""


@dataclass(frozen=True)
class Repeated:
    """An object that says the same twice, in the place of which nobody can tell what it means."""

    name: str


def read(path: Path, file_format: str) -> Iterator[Entry]:
    """Yield the entries of the file. Raises `ValueError` where it is not of that format at all, `OSError`."""
    return READERS[file_format](path)


def text_of(path: Path) -> str:
    """Return the file's text; raise `ValueError` that says in which line it is none."""
    data = path.read_bytes()
    refuse_other(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ValueError(f"line {line}: {ENCODING}") from exc


def refuse_other(data: bytes) -> None:
    """Raise `ValueError` where the file begins as none of text in UTF-8 does."""
    for begins, called in OTHERS.items():
        if data.startswith(begins):
            raise ValueError(f"line 1: expected text in UTF-8, got {called}")


def parsed(text: str) -> object:
    """Return the JSON's value; raise `JSONDecodeError`, `RecursionError`."""
    return json.loads(text, object_pairs_hook=once, parse_int=whole)


def once(pairs: list[tuple[str, object]]) -> object:
    """Return the object, or what is said twice in it or within it."""
    values = dict(pairs)
    if len(values) != len(pairs):
        return Repeated(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return next(filter(None, map(repeated_in, values.values())), values)


def repeated_in(value: object) -> Repeated | None:
    """Return the value, or what a list has in it, if that is such an object."""
    if isinstance(value, list):
        return next(filter(None, map(repeated_in, value)), None)
    return value if isinstance(value, Repeated) else None


def whole(digits: str) -> float:
    """Return the number; one that nothing here can be, as a fraction, which no field takes."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def found(place: str, value: object) -> Entry:
    """Return the entry of a value of JSON."""
    if isinstance(value, Repeated):
        return Entry(place, fault=f"{json.dumps(value.name)[:60]} is there more than once")
    return Entry(place, value)


def read_json(path: Path) -> Iterator[Entry]:
    """Yield the values of an array."""
    try:
        values = parsed(text_of(path))
    except json.JSONDecodeError as exc:
        raise ValueError(f"line {exc.lineno}: expected JSON: {exc.msg.removesuffix(' at')}") from exc
    except RecursionError as exc:
        raise ValueError("expected JSON that is nested less deeply") from exc
    if not isinstance(values, list):
        raise ValueError("expected an array of users")  # noqa: TRY004  # every fault of a file is a ValueError
    for number, value in enumerate(values, 1):
        yield found(f"entry {number}", value)


def read_jsonl(path: Path) -> Iterator[Entry]:
    """Yield the values of the lines; an empty line is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                refuse_other(line)
            if not line.strip():
                continue
            place = f"line {number}"
            try:
                yield found(place, parsed(line.decode("utf-8-sig")))
            except UnicodeDecodeError:
                yield Entry(place, fault=ENCODING)
            except json.JSONDecodeError as exc:
                yield Entry(place, fault=f"expected JSON: {exc.msg.removesuffix(' at')} in column {exc.colno}")
            except RecursionError:
                yield Entry(place, fault="expected JSON that is nested less deeply")


def read_csv(path: Path) -> Iterator[Entry]:
    """Yield the rows below the header, without what is empty in them."""
    reader = csv.reader(io.StringIO(text_of(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        check_header(header)
        for row in reader:
            if row:
                yield entry_of(f"line {reader.line_num}", header, row)
    except csv.Error as exc:
        raise ValueError(f"line {reader.line_num}: {exc}") from exc


def check_header(header: list[str]) -> None:
    """Raise `ValueError` where that is no header, with what it seems to be."""
    for separator, called in SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise ValueError(f"line 1: expected columns that are separated by commas, got {called}")
    for name in header:
        if name not in COLUMNS and name.strip().lower() in COLUMNS:
            raise ValueError(f"line 1: expected the column {name.strip().lower()}, in small letters, got {name!r}")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice or "username" not in header:
        got = f"got {twice[0]!r} more than once" if twice else "username is not"
        raise ValueError(f"line 1: expected a header that names each column once, username among them; {got}")


def entry_of(place: str, header: list[str], row: list[str]) -> Entry:
    """Return the entry of a row."""
    if len(row) != len(header):
        return Entry(place, fault=f"expected {len(header)} columns, got {len(row)}")
    return Entry(place, {name: typed(name, value) for name, value in zip(header, row, strict=True) if value})


def typed(name: str, value: str) -> object:
    """Return the value of a column as JSON would have it; what is no such value stays text.

    A whole number may have `.0` behind it, as a data frame's has whose column has a gap.
    """
    if name in NUMBERS and (digits := re.fullmatch(r"([0-9]{1,19})(?:\.0)?", value, re.ASCII)):
        return int(digits[1])
    return BOOLEANS.get(value.lower(), value) if name == "is_active" else value


READERS = {"json": read_json, "jsonl": read_jsonl, "csv": read_csv}
