"""Loads a gateway.yaml: all of it is right, or its faults are reported at once.

Contradictions between policies need values without faults, and so come second.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from . import consistency, contradictions
from .corrections import correction
from .document import UNREADABLE, DocumentReader, Mark, Node, shown
from .errors import ConfigError, Fault
from .lines import Lines
from .models import Config, resolved
from .policies import ServicePolicies

Location = tuple[int | str, ...]

# What pydantic's own errors expected, in words; those of `values` say it themselves.
A_MAPPING: Final = "a mapping"
EXPECTED: Final = {
    "dict_type": A_MAPPING,
    "mapping_type": A_MAPPING,
    "model_type": A_MAPPING,
    "tuple_type": "a list",
}


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Return the checked configuration with all defaults; raise `ConfigError` with the faults of the file."""
    return load_with_lines(path, environ)[0]


def load_with_lines(path: Path, environ: Mapping[str, str], content: bytes | None = None) -> tuple[Config, Lines]:
    """Return the configuration as `load` does, and its lines; of `content`, if that was the file's."""
    config, root = checked(path, environ, content)
    return config, Lines(root, config)


def warnings(path: Path, environ: Mapping[str, str]) -> tuple[Fault, ...]:
    """Return what is probably a mistake in a file without faults; raise `ConfigError`."""
    config, root = checked(path, environ)
    reader = DocumentReader(str(path), environ)
    contradictions.warn(config, root, reader)
    return in_order(reader.faults)


def checked(path: Path, environ: Mapping[str, str], content: bytes | None = None) -> tuple[Config, Node]:
    """Return the configuration and the nodes of the file; raise `ConfigError`."""
    reader = DocumentReader(str(path), environ)
    root = reader.read(text_of(path, reader) if content is None else content.decode("utf-8-sig"))
    config: Config | None = None
    try:
        config = Config.model_validate(root.plain())
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            note(error, root, reader)
    consistency.check(root, reader)
    if config is None or reader.faults:
        raise ConfigError(in_order(reader.faults))
    config = resolved(config)
    contradictions.check(config, root, reader)
    if reader.faults:
        raise ConfigError(in_order(reader.faults))
    return config, root


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    return tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))


def text_of(path: Path, reader: DocumentReader) -> str:
    try:
        content = path.read_bytes()
    except OSError as exc:
        message = f"{exc.strerror or exc}. Set GATEWAY_CONFIG to the path of a file that can be read."
        raise reader.fatal(Mark(1, 1), message) from exc
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = content[: exc.start]
        mark = Mark(before.count(b"\n") + 1, exc.start - before.rfind(b"\n"))
        raise reader.fatal(mark, f"byte 0x{content[exc.start]:02x} is not UTF-8. Save the file as UTF-8.") from exc


def note(error: ErrorDetails, root: Node, reader: DocumentReader) -> None:
    """Note pydantic's error as a fault, unless the value has one already."""
    location = error["loc"]
    node = find(root, location)
    name = str(location[-1]) if location else ""
    if error["type"] == "missing":
        section = section_at(location[:-1])
        reader.fault(node.key or node.mark, f"`{name}` is missing. {section.model_fields[name].description}")
    elif error["type"] == "extra_forbidden":
        reader.fault(node.key or node.mark, unknown_key(name, section_at(location[:-1])))
    elif name == "[key]":
        reader.unexpected(node.key or node.mark, shown(error["input"]), expectation(error))
    elif node.value is UNREADABLE:
        if error["type"] == "literal_error" or "keyword" in location:
            reader.expect_words(node.mark, expectation(error))
    else:
        # Of an entry of a list, which has no key, the key's correction would be that of the whole list.
        is_secret = "headers" in location and "set" in location  # it may be a key
        steps = (step for step in location if isinstance(step, str))
        write = correction(steps, node.plain()) if node.key and not is_secret else ""
        expected = expectation(error)
        if expected == A_MAPPING and not write:
            expected += example_at(location)
        reader.unexpected(node.mark, "a value" if is_secret else shown(node.plain()), expected + write)


def find(root: Node, location: Location) -> Node:
    """Return the node of pydantic's location; steps that are pydantic's own, such as a union's tag, are skipped."""
    node = root
    for step in location:
        node = node.get(step) or node
    return node


def section_at(location: Location) -> type[BaseModel]:
    section: type[BaseModel] = Config
    steps = iter(location)
    for step in steps:
        annotation = section.model_fields[str(step)].annotation
        section = next(models_in(annotation))
        if get_origin(annotation) in {Mapping, tuple}:
            next(steps)  # the name or number in the list, which may be spelled as a key of the section is
    return section


def example_at(location: Location) -> str:
    """Return an example of the mapping there; empty for one whose keys are names."""
    with suppress(StopIteration):
        example = getattr(section_at(location), "example", "")
        return f" such as {example}" if example else ""
    return ""


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401  # any type
    """Yield the models in a field's type, such as `Service` in `Mapping[str, Service]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def unknown_key(name: str, section: type[BaseModel]) -> str:
    keys = sorted(section.model_fields, key=ServicePolicies.model_fields.__contains__)  # the policies last
    near = difflib.get_close_matches(name, keys, n=1)
    hint = f"Did you mean `{near[0]}`? " if near else ""
    return f"unknown key {shown(name)}. {hint}The keys here are {', '.join(f'`{key}`' for key in keys)}."


def expectation(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    if error["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    return EXPECTED.get(error["type"], error["msg"])
