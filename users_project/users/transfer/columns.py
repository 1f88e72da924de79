"""What a file of users has: a JSON array, JSON lines or CSV with a header, in UTF-8."""

from pathlib import Path

COLUMNS = (
    *("id", "username", "email", "full_name", "user_type", "is_active", "hashed_password"),
    *("created_by", "created_at", "updated_at", "session_epoch"),
)
FORMATS = ("json", "jsonl", "csv")


def format_of(path: Path | None, chosen: str | None = None) -> str:
    """Return the format: the chosen one, or by the file's name. Raises `ValueError`."""
    found = chosen or (path.suffix.lower().removeprefix(".") if path else "jsonl")
    if found not in FORMATS:
        raise ValueError(f"The name {path} does not end with .json, .jsonl or .csv. Choose a --format")
    return found
