"""What stands in a file of users, place by place; of users it knows the columns alone whose types CSV cannot say."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NUMBERS = {"id", "created_by", "session_epoch"}
BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Entry:
    """What stands at one place of the file, as `line 3` or `entry 3`; or why nothing can be read there."""

    place: str
    value: object = None
    fault: str = ""


def read(path: Path, file_format: str) -> Iterator[Entry]:
    """Yield the entries of the file. Raises `ValueError` where it is not of that format at all, `OSError`."""
    return READERS[file_format](path)


def read_json(path: Path) -> Iterator[Entry]:
    """Yield the values of an array."""
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as exc:
        raise ValueError(f"line {exc.lineno}: expected JSON: {exc.msg}") from exc
    except RecursionError as exc:
        raise ValueError("expected JSON that is nested less deeply") from exc
    if not isinstance(values, list):
        raise ValueError("expected an array of users")  # noqa: TRY004  # every fault of a file is a ValueError
    for number, value in enumerate(values, 1):
        yield Entry(f"entry {number}", value)


def read_jsonl(path: Path) -> Iterator[Entry]:
    """Yield the values of the lines; an empty line is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield Entry(f"line {number}", json.loads(line.decode("utf-8-sig")))
            except (ValueError, RecursionError) as exc:
                yield Entry(f"line {number}", fault=f"expected JSON, got {type(exc).__name__}")


def read_csv(path: Path) -> Iterator[Entry]:
    """Yield the rows below the header, without what is empty in them."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) != len(header) or "username" not in header:
                raise ValueError("line 1: expected a header that names each column once, username among them")
            for row in reader:
                if row:
                    yield entry_of(f"line {reader.line_num}", header, row)
        except csv.Error as exc:
            raise ValueError(f"line {reader.line_num}: {exc}") from exc


def entry_of(place: str, header: list[str], row: list[str]) -> Entry:
    """Return the entry of a row."""
    if len(row) != len(header):
        return Entry(place, fault=f"expected {len(header)} columns, got {len(row)}")
    return Entry(place, {name: typed(name, value) for name, value in zip(header, row, strict=True) if value})


def typed(name: str, value: str) -> object:
    """Return the value of a column as JSON would have it; what is no such value stays text."""
    if name in NUMBERS and re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
        return int(value)
    return BOOLEANS.get(value.lower(), value) if name == "is_active" else value


READERS = {"json": read_json, "jsonl": read_jsonl, "csv": read_csv}
