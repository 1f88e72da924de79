"""Finds words that the project's prose avoids: `python -m tests.words [PATH…]`.

It checks what people read: documents, templates, scripts and settings, and the comments and strings of Python. It does
not check names in code, nor `code` in Markdown. The list is in pyproject.toml, under `tool.words`: `avoid` maps each
phrase to what to write instead, `fine` has longer phrases that contain one and are right, `allow` has the exceptions by
file, and `clean` the paths to check without arguments.
"""

import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["words"]
SUFFIXES = {".md", ".html", ".sh", ".yaml", ".yml", ".in", ".css", ".js", ".py", ".toml", ".example"}
NAMES = {".ci/run", "Dockerfile", ".env.example"}
# The list itself, and what migrations have written is history.
LEFT_OUT = re.compile(r"^pyproject\.toml$|/migrations/")
# A phrase goes on in the next line, behind the mark of a comment or quotation, or in the next string.
GAP = r"""(?:[ \t]+|[ \t]*["']?[ \t]*\n[ \t]*[#>*|]*[ \t]*f?["']?[ \t]*)"""
# The parts of an f-string, and of a t-string, are tokens in later versions of Python only.
PARTS = [f"{kind}STRING_{part}" for kind in "FT" for part in ("START", "MIDDLE", "END")]
PROSE = {tokenize.COMMENT, tokenize.STRING, *(getattr(tokenize, part, -1) for part in PARTS)}


def spelled(phrase: str) -> str:
    """Return the pattern of a phrase, which may be broken over two lines."""
    return GAP.join(map(re.escape, phrase.split()))


class Avoided:
    """The phrases to look for; the pattern has a group for each."""

    def __init__(self, phrases: dict[str, str], fine: Sequence[str] = ()) -> None:
        # The longest first, so that it wins over one that it begins with.
        self.phrases = sorted(phrases, key=len, reverse=True)
        # What is fine has no group. A match of it takes the words away from the phrases.
        groups = [*map(spelled, fine), *(f"({spelled(each)})" for each in self.phrases)]
        self.pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(groups)})(?![\w-])", re.IGNORECASE)

    def find(self, name: str, text: str) -> Iterator[tuple[int, str]]:
        """Yield the line and the phrase of each finding in a file's text."""
        prose = prose_of(name, text)
        for found in self.pattern.finditer(prose):
            if found.lastindex:
                yield prose.count("\n", 0, found.start()) + 1, self.phrases[found.lastindex - 1]


def prose_of(name: str, text: str) -> str:
    """Return the text with its code blanked, so that lines keep their numbers."""
    if name.endswith(".md"):
        return blanked(r"`[^`\n]+`", text)
    if not name.endswith(".py"):
        return text
    lines = [list(line) for line in blanked(r"\S", text).splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in PROSE:
            first, column = token.start
            # Before Python 3.12 an f-string is one token, with the code in its fields.
            prose = without_fields(token.string) if re.match("[rR]?[fF]", token.string) else token.string
            for number, part in enumerate(prose.splitlines(), first):
                at = column if number == first else 0
                lines[number - 1][at : at + len(part)] = part
    return "\n".join("".join(line) for line in lines)


def without_fields(text: str) -> str:
    """Return an f-string with its fields blanked, the innermost first."""
    while (shorter := blanked(r"\{[^{}]*\}", text)) != text:
        text = shorter
    return text


def blanked(pattern: str, text: str) -> str:
    """Return the text with each match blanked."""
    return re.sub(pattern, lambda found: "_" * len(found[0]), text)


def files(paths: list[str]) -> Iterator[Path]:
    """Yield the files to check: those of git under the paths, and any other that is named itself."""
    for path in map(Path, paths):
        if path.is_absolute() and path.is_file():
            yield path
            continue
        command = ["git", "ls-files", "--", str(path)]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        if not listed:
            sys.exit(f"tests.words: no file of git under {path}")
        yield from (ROOT / name for name in listed if not LEFT_OUT.search(name) and is_prose(name))


def is_prose(name: str) -> bool:
    """Return whether people read what is in the file."""
    path = Path(name)
    return path.suffix in SUFFIXES or name in NAMES or path.name in NAMES


def main(paths: list[str]) -> int:
    """Print each finding with what to write instead; return 1 if there is one."""
    avoided = Avoided(SETTINGS["avoid"], SETTINGS["fine"])
    lines = []
    for path in files(paths or SETTINGS["clean"]):
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
        allowed = SETTINGS["allow"].get(name, [])
        for line, phrase in avoided.find(name, path.read_text()):
            if phrase not in allowed:
                lines.append(f"{name}:{line}: “{phrase}”: write {SETTINGS['avoid'][phrase]}")
    if lines:
        lines.append(f"Change these {len(lines)}, or allow them by file in pyproject.toml where they are right.")
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
