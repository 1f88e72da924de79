"""JSON as a person reads it: the service's own text, with a line for each value, and links that can be followed.

Nothing is parsed into values, so nothing is changed: `1.10` stays `1.10`, and what no JSON is stays as it came.
"""

import re
from html import escape
from typing import Final

# RFC 8259, section 2. What is in none of the others is a literal: a number, `true`, or whatever was put there.
TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^" \t\r\n{}\[\]:,]+', re.DOTALL)
SPACE: Final = " \t\r\n"
INDENT: Final = "    "
CLOSING: Final = {"{": "}", "[": "]"}
ENDING: Final = frozenset(CLOSING.values())
BETWEEN: Final = frozenset({",", ":"})
BEFORE_VALUE: Final = BETWEEN | CLOSING.keys()
LINK: Final = re.compile(r'"(https?://[^"\s\\<>]+)"')


def indented(text: str, most: int, *, is_cut: bool = False) -> str:
    """Return the text with a line for each value; unchanged if it is not JSON, or would be longer than `most`.

    Truncated JSON has a line for each complete value.
    """
    pieces: list[str] = []
    closings: list[str] = []
    line = "\n"
    previous = ""
    end = size = 0
    for found in TOKEN.finditer(text):
        token = found[0]
        start = found.start()
        if start != end and text[end:start].strip(SPACE):
            break
        end = found.end()
        if token in ENDING:
            if not closings or closings.pop() != token:
                return text
            line = line.removesuffix(INDENT)
            piece = token if previous in CLOSING else line + token
        elif token in BETWEEN:
            piece = token
        else:
            if previous and previous not in BEFORE_VALUE:
                # Two values next to each other.
                return text
            piece = f" {token}" if previous == ":" else line + token if previous else token
            if token in CLOSING:
                closings.append(CLOSING[token])
                line += INDENT
        pieces.append(piece)
        size += len(piece)
        if size > most:
            return text
        previous = token
    if is_cut:
        return "".join(pieces) + text[end:]
    return text if closings or text[end:].strip(SPACE) else "".join(pieces)


def linked(text: str) -> str:
    """Return the text as HTML, with a link for each string that is a URL."""
    # Text between two matches and matched text, alternating.
    parts = [escape(part) for part in LINK.split(text)]
    parts[1::2] = [f'&quot;<a href="{url}" rel="nofollow">{url}</a>&quot;' for url in parts[1::2]]
    return "".join(parts)
