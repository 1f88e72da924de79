"""A form for an operation's body, from its schema; and the body that a sent form means. No I/O.

A field's name in the form is a JSON pointer (RFC 6901), such as `/address/street`. Beside it `was:/address/street` has
the text that the page filled in, so that PATCH sends what was changed. A browser does not fill in a file again: of one
that was chosen, `file:/cover` has the name.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chassis.problems import flatten

from .schemas import Schema, is_file, resolved
from .tables import WEB

MAX_GROUPS: Final = 3
LONG_TEXT: Final = 500  # characters
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
TYPES: Final = {"email": "email", "uri": "url", "date": "date", "password": "password"}
Errors = dict[str, list[str]]
Values = Mapping[str, Sequence[str]]


@dataclass
class Field:
    """One control, or a group of them. `value` is its text, `chosen` are the values of a list of choices.

    Of a file, `value` is the URL of the stored one, and `chosen` are the names of those that have to be chosen again.
    """

    name: str
    label: str
    kind: str
    schema: Schema
    required: bool
    value: str = ""
    chosen: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    choices: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    fields: list["Field"] = field(default_factory=list)
    was: str = ""

    @property
    def id(self) -> str:
        return "field" + re.sub(r"[^A-Za-z0-9_-]", "-", self.name)

    @property
    def help(self) -> str:
        """Return the description without the list of choices, which the control shows."""
        text = str(self.schema.get("description", ""))
        return re.sub(r"(?m)^\* `.*$", "", text).strip()

    @property
    def is_multiple(self) -> bool:
        return self.kind == "choices"


def fields_of(
    schema: Schema,
    document: Mapping[str, Any],
    *,
    data: Any = None,  # noqa: ANN401  # JSON
    typed: Values | None = None,
    at: str = "",
    depth: int = 0,
) -> list[Field]:
    """Return the fields of an object's schema, filled in with what was typed, or with `data`, or with the defaults."""
    found = []
    required = schema.get("required", [])
    for name, each in schema.get("properties", {}).items():
        own = resolved(each, document)
        if own.get("readOnly"):
            continue
        pointer = f"{at}/{_escaped(name)}"
        one = Field(pointer, str(own.get("title") or _words(name)), _kind(own, document, depth), own, name in required)
        inner = data.get(name) if isinstance(data, dict) else None
        if one.kind == "group":
            one.fields = fields_of(own, document, data=inner, typed=typed, at=pointer, depth=depth + 1)
        else:
            is_new = not isinstance(data, dict)
            _fill(one, own.get("default") if is_new else inner, typed)
        one.choices = _choices(one, document)
        one.attributes = _attributes(one)
        found.append(one)
    return found


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _words(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()


def _kind(schema: Schema, document: Mapping[str, Any], depth: int) -> str:
    """Return the kind of control; what no control fits is written as JSON."""
    if is_file(schema, document):
        return "file"
    kind = "object" if schema.get("properties") else schema.get("type")
    if schema.get("enum") or kind == "boolean":
        return "choice"
    if kind == "array":
        items = resolved(schema.get("items", {}), document)
        is_plain = items.get("type") in {"string", "integer", "number"}
        return "choices" if items.get("enum") else "lines" if is_plain else "json"
    if kind == "object":
        return "group" if schema.get("properties") and depth < MAX_GROUPS else "json"
    if kind == "string":
        is_long = schema.get("maxLength", 0) > LONG_TEXT or schema.get("format") == "textarea"
        return "long" if is_long else "text"
    return "number" if kind in {"integer", "number"} else "json"


def _fill(one: Field, data: Any, typed: Values | None) -> None:  # noqa: ANN401  # JSON
    text = _text(one.kind, data)
    if one.kind == "file":
        one.value = text if WEB.fullmatch(text) else ""
        one.chosen = list((typed or {}).get(f"file:{one.name}", []))
        return
    one.was = text if typed is None else next(iter(typed.get(f"was:{one.name}", [])), "")
    if one.kind == "choices":
        one.chosen = text.split("\n") if typed is None else list(typed.get(one.name, []))
    elif _is_password(one):
        one.was = ""
    else:
        one.value = text if typed is None else next(iter(typed.get(one.name, [])), "")


def _is_password(one: Field) -> bool:
    return one.schema.get("format") == "password" or (bool(one.schema.get("writeOnly")) and "password" in one.name)


def _text(kind: str, data: Any) -> str:  # noqa: ANN401  # JSON
    if data is None:
        return ""
    if isinstance(data, str) and kind != "json":
        return data
    if kind in {"lines", "choices"} and isinstance(data, list):
        return "\n".join(_text("text", each) for each in data)
    return json.dumps(data, ensure_ascii=False, indent=2)


def _choices(one: Field, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    if one.kind not in {"choice", "choices"}:
        return []
    schema = one.schema if one.kind == "choice" else resolved(one.schema.get("items", {}), document)
    values = schema.get("enum") or [True, False]
    # drf-spectacular's list of choices.
    labels = dict(re.findall(r"(?m)^\* `(.*?)` - (.*)$", str(schema.get("description", ""))))
    words = {"true": "Yes", "false": "No"}
    texts = [_text("text", each) for each in values]
    return [(text, labels.get(text) or words.get(text) or text) for text in texts if text]


def _attributes(one: Field) -> dict[str, Any]:
    schema = one.schema
    found: dict[str, Any] = {}
    if one.kind == "text":
        found["type"] = "password" if _is_password(one) else TYPES.get(str(schema.get("format")), "text")
        if found["type"] == "password":
            found["autocomplete"] = "new-password"
    if one.kind == "file":
        found |= {"type": "file", "multiple": "multiple" if schema.get("type") == "array" else None}
    if one.kind in {"text", "long"}:
        found["maxlength"] = schema.get("maxLength")
    if one.kind == "number":
        is_whole = schema.get("type") == "integer"
        found |= {"type": "number", "step": 1 if is_whole else "any", "min": schema.get("minimum")}
        found["max"] = schema.get("maximum")
    hint = schema.get("example", next(iter(schema.get("examples") or []), None))
    if hint is not None and one.kind in {"text", "long", "number"}:
        found["placeholder"] = _text(one.kind, hint)
    return {name: value for name, value in found.items() if value is not None}


def body_of(fields: Sequence[Field], values: Values, *, is_partial: bool) -> dict[str, Any]:
    """Return the JSON object that the form means: without what is left empty and, for PATCH, what was not changed.

    What does not fit its type is sent as text: the service says what is wrong with it.
    """
    found: dict[str, Any] = {}
    for one in fields:
        name = _name_of(one)
        if one.kind == "file":
            continue
        if one.kind == "group":
            inner = body_of(one.fields, values, is_partial=is_partial)
            if inner or (one.required and not is_partial):
                found[name] = inner
            continue
        text = "\n".join(values.get(one.name, [])).replace("\r\n", "\n")
        was = next(iter(values.get(f"was:{one.name}", [])), "").replace("\r\n", "\n")
        if is_partial and text == was:
            continue
        if text or (one.is_multiple and (was or one.required)):
            found[name] = _value(one, text)
        elif was and one.schema.get("nullable"):
            found[name] = None
        elif one.kind in {"text", "long"} and (was or one.required):
            found[name] = ""
        elif one.kind == "lines" and (was or one.required):
            found[name] = []
    return found


def parts_of(fields: Sequence[Field], values: Values, *, is_partial: bool) -> list[tuple[str, str]]:
    """Return the same body as the parts of a form, by OpenAPI's defaults: each value of a list, an object as JSON."""
    found: list[tuple[str, str]] = []
    for name, value in body_of(fields, values, is_partial=is_partial).items():
        found.extend((name, _text("text", each)) for each in (value if isinstance(value, list) else [value]))
    return found


def file_names(fields: Sequence[Field]) -> dict[str, str]:
    """Return the names of the files that the operation takes, by the names of their fields."""
    return {one.name: _name_of(one) for one in fields if one.kind == "file"}


def _name_of(one: Field) -> str:
    return one.name.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def _value(one: Field, text: str) -> Any:  # noqa: ANN401  # JSON
    if one.kind in {"lines", "choices"}:
        is_number = one.schema.get("items", {}).get("type") in {"integer", "number"}
        return [_number(line) if is_number else line for line in text.split("\n") if line]
    if one.kind == "number":
        return _number(text)
    if one.kind == "choice":
        values = one.schema.get("enum") or [True, False]
        return next((value for value in values if _text("text", value) == text), text)
    if one.kind == "json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _number(text: str) -> Any:  # noqa: ANN401  # a number, or the text
    return json.loads(text) if NUMBER.fullmatch(text.strip()) else text


def messages_of(data: Any) -> Errors:  # noqa: ANN401  # JSON
    """Return the messages of a rejected body by pointer, "" for the whole: ours, stock DRF's or FastAPI's."""
    if not isinstance(data, dict):
        return {}
    if isinstance(data.get("errors"), dict):
        found = flatten(data["errors"])
    elif isinstance(data.get("detail"), list):
        entries = [each for each in data["detail"] if isinstance(each, dict) and isinstance(each.get("loc"), list)]
        found = {}
        for each in entries:
            found.setdefault(".".join(map(str, each["loc"][1:])), []).append(str(each.get("msg", "")))
    elif "detail" not in data and "title" not in data:
        found = flatten(data)
    else:
        return {}
    whole = {"", "non_field_errors", "__all__"}
    return {("" if key in whole else "/" + key.replace(".", "/")): texts for key, texts in found.items()}


def put_errors(fields: Sequence[Field], errors: Errors) -> list[str]:
    """Put each message at its field, or at the nearest that contains its place; return the others."""
    by_name = {one.name: one for one in _flat(fields)}
    left: list[str] = []
    for pointer, texts in errors.items():
        at = pointer
        while at and at not in by_name:
            at = at.rpartition("/")[0]
        if at:
            by_name[at].errors.extend(texts)
        else:
            left.extend(f"{pointer.strip('/')}: {text}" if pointer else text for text in texts)
    return left


def _flat(fields: Sequence[Field]) -> list[Field]:
    return [each for one in fields for each in (one, *_flat(one.fields))]
