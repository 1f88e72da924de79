"""Reads YAML into nodes that know where they stand.

A strict part of YAML 1.2: one document, each key once, no aliases (with them a small file can hold a huge value), no
tags, no empty values, and none of YAML 1.1's surprises: `on` and `010` are faults, not `true` and 8.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import yaml

from .errors import ConfigError, Fault
from .indentation import indenting_tab, misindented
from .substitution import substitute

# libyaml's parser, ten times as fast, is in every wheel of PyYAML; a build from source may lack it.
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# A valid file is five deep; this bounds the recursion below.
MAX_DEPTH: Final = 16
MAX_SHOWN: Final = 80

UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
NUMBER_OF_YAML_1_1 = re.compile(r"[-+]?(?:0[0-9_]+|0[box][0-9a-fA-F_]+|[0-9]+(?::[0-5]?[0-9])+|[0-9]+_[0-9_]*)")
BOOLEANS_OF_YAML_1_1: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}
BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NULLS: Final = {"", "~", "null", "Null", "NULL"}


class Unreadable:
    """Stands for a value that has a fault already; no model accepts it."""


UNREADABLE: Final = Unreadable()
Scalar = str | int | bool | Unreadable


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place, and its key's place if it has one."""

    value: "Scalar | list[Node] | dict[str, Node]"
    mark: Mark
    key: Mark | None = None

    def plain(self) -> object:
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    @property
    def place(self) -> Mark:
        """The place of the key, or of a value without one."""
        return self.key or self.mark

    def find(self, *keys: str) -> "Node | None":
        """Return the node that these keys lead to."""
        node: Node | None = self
        for key in keys:
            node = node.get(key) if node else None
        return node

    def get(self, key: str | int) -> "Node | None":
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int):
            return self.value[key]
        return None

    def children(self) -> "list[Node]":
        if isinstance(self.value, dict):
            return list(self.value.values())
        return self.value if isinstance(self.value, list) else []


class ParserMark(Protocol):
    """A mark of PyYAML's parsers; both from 0."""

    line: int
    column: int


def place(mark: ParserMark | None) -> Mark:
    """Return PyYAML's mark as a `Mark`; the start of the file if there is no mark."""
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


def shown(value: object) -> str:
    """Return the value for a message: short, on one line, without the password of a URL."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(re.sub(r"//[^/\s]*@", "//…@", value) if isinstance(value, str) else value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def meant(name: str, known: Iterable[str]) -> str:
    """Return the question after a typing mistake; empty if no known name is like it."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}? " if near else ""


@dataclass
class DocumentReader:
    """Turns the parser's events into nodes and collects the faults."""

    file: str
    environ: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)

    def fault(self, mark: Mark, message: str) -> Unreadable:
        """Note a fault; return the placeholder for the value."""
        self.faults.append(Fault(self.file, mark.line, mark.column, message))
        return UNREADABLE

    def unexpected(self, mark: Mark, value: str, expected: str) -> Unreadable:
        return self.fault(mark, f"got {value}; expected {expected}")

    def expect_words(self, mark: Mark, words: str) -> None:
        """Let the fault of an `on` or `yes` name the words that its key takes, which only the key's model knows."""
        for index, fault in enumerate(self.faults):
            found, expected, _ = fault.message.partition("; expected true or false")
            if expected and (fault.line, fault.column) == (mark.line, mark.column):
                self.faults[index] = replace(fault, message=f"{found}; expected {words}")

    def fatal(self, mark: Mark, message: str) -> ConfigError:
        """Return the error that ends reading, with all faults so far."""
        self.fault(mark, message)
        return ConfigError(tuple(self.faults))

    def read(self, text: str) -> Node:
        """Return the document's root; raise `ConfigError` if the rest of the file cannot be read."""
        if found := UNPRINTABLE.search(text):
            line = text.count("\n", 0, found.start()) + 1
            mark = Mark(line, found.start() - text.rfind("\n", 0, found.start()))
            raise self.fatal(mark, f"unprintable character U+{ord(found[0]):04X}. Remove it.")
        try:
            return self.document(yaml.parse(text, Loader=LOADER))
        except yaml.MarkedYAMLError as exc:
            mark = place(exc.problem_mark)
            if tab := indenting_tab(text, mark.line, mark.column):
                message = "tab before a key or a value. Use spaces."
                raise self.fatal(Mark(mark.line, tab), message) from exc
            if fault := misindented(text, mark.line, mark.column):
                column, message = fault
                raise self.fatal(Mark(mark.line, column), message) from exc
            raise self.fatal(mark, f"invalid YAML: {exc.problem}") from exc

    def document(self, events: Iterator[yaml.Event]) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root:
                    raise self.fatal(place(event.start_mark), "second document. Keep one in the file.")
                root = self.node(next(events), events)
        if root is None:
            raise self.fatal(Mark(1, 1), "the file is empty. Write a mapping with `version`, `services` and `routes`.")
        return root

    def node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int = 1, key: Mark | None = None) -> Node:
        mark = place(event.start_mark)
        if depth > MAX_DEPTH:
            raise self.fatal(mark, f"more than {MAX_DEPTH} levels of nesting. Use fewer.")
        if isinstance(event, yaml.AliasEvent):
            return Node(self.fault(mark, f"alias *{event.anchor}. Write the value itself."), mark, key)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(self.sequence(events, depth), mark, key)
        if isinstance(event, yaml.ScalarEvent):
            return Node(self.scalar(event, mark), mark, key)
        return Node(self.mapping(events, depth), mark, key)

    def sequence(self, events: Iterator[yaml.Event], depth: int) -> list[Node]:
        nodes = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            nodes.append(self.node(event, events, depth + 1))
        return nodes

    def mapping(self, events: Iterator[yaml.Event], depth: int) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = place(event.start_mark)
            name = event.value if isinstance(event, yaml.ScalarEvent) else None
            if name is None:
                self.node(event, events, depth + 1)
                self.fault(key, "this key is not text. Write a text key.")
            node = self.node(next(events), events, depth + 1, key)
            first = nodes.setdefault(name, node) if name is not None else node
            if first is not node and first.key:
                self.fault(key, f"duplicate key {shown(name)}, first on line {first.key.line}. Remove one of them.")
        return nodes

    def scalar(self, event: yaml.ScalarEvent, mark: Mark) -> Scalar:
        """Return a scalar's value: text, except plain decimal numbers and `true` and `false`."""
        text: str = event.value
        if event.tag not in {None, "!"}:
            return self.fault(mark, f"tag {event.tag}. Write the value without a tag.")
        if "$" in text:
            try:
                return substitute(text, self.environ)
            except ValueError as exc:
                return self.fault(mark, f"{shown(text)}: {exc}")
        return self.plain_scalar(text, mark) if event.implicit[0] else text

    def plain_scalar(self, text: str, mark: Mark) -> Scalar:
        if text in NULLS:
            return self.fault(mark, "this key has no value. Indent the lines that belong to it, or remove the key.")
        if text in BOOLEANS:
            return BOOLEANS[text]
        if DECIMAL.fullmatch(text):
            return int(text)
        if text in {word for lower in BOOLEANS_OF_YAML_1_1 for word in (lower, lower.title(), lower.upper())}:
            meant = BOOLEANS_OF_YAML_1_1[text.lower()]
            return self.unexpected(mark, text, f"true or false; write {meant}, or '{text}' in quotes if text is meant")
        if NUMBER_OF_YAML_1_1.fullmatch(text):
            return self.unexpected(mark, text, "a plain decimal number, or quotes around it if text is meant")
        return text
