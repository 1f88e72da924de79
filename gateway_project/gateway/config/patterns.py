"""The grammar of a route's path, and which of two patterns is the more specific (as in Go's `ServeMux`).

`/api/users/{id}` matches one segment that is not empty, `/admin/{path...}` matches `/admin/` and all paths below it.
The slash at the end of a path is an empty segment. Only a pattern with such an end, or a `{path...}`, matches it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

# RFC 3986, section 3.3, without percent-encoding and path parameters: a pattern is compared with the decoded path.
STATIC = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@-]+")
PARAMETER = re.compile(r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>\.\.\.)?\}")
DOTS: Final = (".", "..")

Kind = Literal["static", "param", "rest"]
Shape = tuple[Kind, str]
PARAM: Final[Shape] = ("param", "")
REST: Final[Shape] = ("rest", "")
END: Final[Shape] = ("static", "")


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a pattern; `text` is the segment itself or the parameter's name."""

    kind: Kind
    text: str

    @property
    def shape(self) -> Shape:
        """What decides on a match: the name of a parameter does not."""
        return self.kind, self.text if self.kind == "static" else ""

    def covers(self, other: "Segment") -> bool:
        """Return whether this matches everything that the other matches."""
        if self.kind == "static":
            return self.shape == other.shape
        return other.kind == "param" or other.text != ""


@dataclass(frozen=True)
class Pattern:
    segments: tuple[Segment, ...]

    @cached_property
    def shape(self) -> tuple[Shape, ...]:
        """Equal for two patterns exactly if they match the same paths."""
        return tuple(segment.shape for segment in self.segments)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(segment.text for segment in self.segments if segment.kind != "static")

    def overlaps(self, other: "Pattern") -> bool:
        for mine, its in zip(self.segments, other.segments, strict=False):
            if "rest" in {mine.kind, its.kind}:
                return True
            if not mine.covers(its) and not its.covers(mine):
                return False
        return len(self.segments) == len(other.segments)

    def covers(self, other: "Pattern") -> bool:
        """Return whether this matches everything that the other matches."""
        for mine, its in zip(self.segments, other.segments, strict=False):
            if mine.kind == "rest":
                return True
            if its.kind == "rest" or not mine.covers(its):
                return False
        return len(self.segments) == len(other.segments)


def parse(path: str) -> Pattern:
    """Return the pattern of a route's path; raise `ValueError` with what was expected."""
    if not path.startswith("/"):
        raise ValueError("a path that starts with /")
    texts = path[1:].split("/")
    end = () if texts[-1] else (Segment("static", ""),)
    segments = (*map(segment, texts if texts[-1] else texts[:-1]), *end)
    pattern = Pattern(segments)
    if any(each.kind == "rest" for each in segments[:-1]):
        raise ValueError("{name...} as the last segment only")
    if len(set(pattern.names)) < len(pattern.names):
        raise ValueError("each parameter name once")
    return pattern


def slashed(path: str) -> str:
    """Return the path with a slash at its end, unless it ends with a rest."""
    return path if path.endswith(("/", "...}")) else f"{path}/"


def segment(text: str) -> Segment:
    if parameter := PARAMETER.fullmatch(text):
        return Segment("rest" if parameter["rest"] else "param", parameter["name"])
    if not text:
        raise ValueError("a path without empty segments")
    # `..;x` too: servers that know path parameters read it as `..`.
    if text.partition(";")[0] in DOTS:
        raise ValueError("a path without . and .. segments")
    if not STATIC.fullmatch(text):
        raise ValueError(
            "segments of letters, digits and -._~!$&'()*+,=:@ without percent-encoding and path parameters, "
            "or a whole {name} or {name...}, the name an identifier"
        )
    return Segment("static", text)


def unversioned(segments: list[str], current: str | None) -> list[str]:
    """Return the path's segments without the current version: `/api/v1/x` is the same as `/api/x`."""
    return [segments[0], *segments[2:]] if current and segments[:2] == ["api", current] else segments


def normalised(pattern: Pattern, current: str | None) -> Pattern:
    """Return the pattern without the current version, as paths are compared."""
    versioned = (Segment("static", "api"), Segment("static", current or ""))
    if current and pattern.segments[:2] == versioned:
        return Pattern((pattern.segments[0], *pattern.segments[2:]))
    return pattern


class Shapes:
    """Patterns in a tree by segment: finds those that overlap with one without comparing it to all."""

    def __init__(self) -> None:
        self.children: dict[Shape, Shapes] = {}
        self.here: list[int] = []

    def add(self, pattern: Pattern, index: int) -> None:
        shapes = self
        for shape in pattern.shape:
            shapes = shapes.children.setdefault(shape, Shapes())
        shapes.here.append(index)

    def overlapping(self, segments: tuple[Segment, ...]) -> Iterator[int]:
        """Yield the indices of the patterns that match a path that the segments match."""
        if not segments:
            yield from self.here
            return
        first, below = segments[0], segments[1:]
        if first.kind == "rest":
            for child in self.children.values():
                yield from child.everything()
            return
        if rest := self.children.get(REST):
            yield from rest.here
        for child in self.beside(first):
            yield from child.overlapping(below)

    def beside(self, first: Segment) -> "Iterator[Shapes]":
        """Yield the children that match something that the segment matches, except the rest of the path."""
        if first.kind == "param":
            yield from (child for shape, child in self.children.items() if shape not in {REST, END})
            return
        for shape in (first.shape,) if first.shape == END else (first.shape, PARAM):
            if child := self.children.get(shape):
                yield child

    def everything(self) -> Iterator[int]:
        yield from self.here
        for child in self.children.values():
            yield from child.everything()
