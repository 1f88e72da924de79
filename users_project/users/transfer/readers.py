"""Rows of a file, one by one, before anything is known about users: a JSON array, JSON lines or CSV, in UTF-8."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = (
    *("id", "username", "email", "full_name", "user_type", "is_active", "hashed_password"),
    *("created_by", "created_at", "updated_at", "session_epoch"),
)
_NUMBERS = {"id", "created_by", "session_epoch"}
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclass(frozen=True)
class Row:
    """The entry at one place of the file, such as `line 3` or `entry 3`; or why it cannot be read."""

    place: str
    value: object = None
    fault: str = ""


def format_of(path: Path, formats: Iterable[str]) -> str:
    """Return the format by the file's name. Raises `ValueError`."""
    found = path.suffix.lower().removeprefix(".")
    if found not in formats:
        raise ValueError(f"The name {path} ends with none of .{', .'.join(formats)}. Choose a --format")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ValueError(f"The file is not UTF-8 (byte {exc.start + 1}). Convert it first") from exc


def _read_json(path: Path) -> Iterator[Row]:
    try:
        values = json.loads(_text(path))
    except json.JSONDecodeError as exc:
        raise ValueError(f"Line {exc.lineno}: {exc.msg}") from exc
    if not isinstance(values, list):
        raise ValueError("The file must contain a JSON array of users")  # noqa: TRY004  # every fault is a ValueError
    for number, value in enumerate(values, 1):
        yield Row(f"entry {number}", value)


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                place = f"line {number}"
                try:
                    yield Row(place, json.loads(line.decode("utf-8-sig")))
                except (ValueError, RecursionError) as exc:
                    yield Row(place, fault=f"not a JSON object: {exc}")


def _read_csv(path: Path) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    header = list(reader.fieldnames or ())
    if len(set(header)) != len(header) or "username" not in header:
        found = [name[:20] for name in header[:12]]  # without a header they are a user's, with the hash
        required = f"a header with username and others of these columns, each once, is required: {', '.join(COLUMNS)}"
        raise ValueError(f"Line 1: {required}; found: {found}")
    try:
        for values in reader:
            place = f"line {reader.line_num}"
            if None in values or None in values.values():
                yield Row(place, fault=f"the number of columns is not {len(header)}")
            else:
                yield Row(place, {name: _typed(name, value) for name, value in values.items() if value})
    except csv.Error as exc:
        raise ValueError(f"Line {reader.line_num}: {exc}") from exc


def _typed(name: str, value: str) -> object:
    if name in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return _BOOLEANS.get(value.lower(), value) if name == "is_active" else value


# Each yields rows, or raises `ValueError` if the file as a whole is not of that format, or `OSError`.
READERS: dict[str, Callable[[Path], Iterator[Row]]] = {"json": _read_json, "jsonl": _read_jsonl, "csv": _read_csv}
