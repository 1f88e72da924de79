"""What a request may say: JSON read strictly, no field or parameter that nobody defined, no value of another type.

    APIException (DRF's)
    └── UnsupportedMediaType
        └── Encoded             the body is compressed, or encoded otherwise: 415

This file is the same in each project.
"""

import codecs
import json
import unicodedata
from collections import Counter
from collections.abc import Collection
from typing import Any, Never

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import ParseError, UnsupportedMediaType, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request

# Of what is unknown: how many are named, and how much of a name. A body of 1 MiB can hold 200,000 fields.
MAX_NAMED = 10
MAX_NAME = 50

# Unicode's categories of what is not seen, and U+200C and U+200D, of the category Cf.
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = {"\N{ZERO WIDTH NON-JOINER}", "\N{ZERO WIDTH JOINER}"}

JSON_TYPES: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], type, str], ...] = (
    (serializers.CharField, str, "a string"),
    (serializers.BooleanField, bool, "true or false"),
    (serializers.IntegerField, int, "a whole number"),
    (serializers.ChoiceField, str, "a string"),
)


class Encoded(UnsupportedMediaType):
    """The body has a `Content-Encoding` (RFC 9110, section 15.5.16). Nothing here unpacks: a bomb stays packed."""

    headers = {"Accept-Encoding": "identity"}

    def __init__(self, coding: str) -> None:
        super().__init__("", f"Expected a body without Content-Encoding, got {presentable(coding)}.")


class StrictJSONParser(JSONParser):
    """JSON as RFC 8259 has it: in UTF-8, each name once in its object, and no NaN. DRF's parser is not so strict."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ANN401  # DRF's signature
        """Return the parsed JSON. Raises `ParseError` or `ValidationError` (400), `UnsupportedMediaType` (415)."""
        check_form(parser_context["request"], media_type)
        try:
            return DECODER.decode(stream.read().decode())
        except UnicodeDecodeError as exc:
            raise ParseError(f"Expected JSON in UTF-8; byte {exc.start + 1} is none of it.") from exc
        except json.JSONDecodeError as exc:
            raise ParseError(what_is_wrong(exc)) from exc
        except RecursionError as exc:  # DRF's would answer 500
            raise ParseError("Expected JSON that is nested less deeply.") from exc
        except ValueError as exc:  # Python reads no integer of more than 4,300 digits
            raise ParseError("Expected numbers of fewer digits.") from exc


def check_form(request: Request, media_type: str) -> None:
    """Raise `UnsupportedMediaType` for a body that is encoded, or in another charset than UTF-8."""
    coding = request.META.get("HTTP_CONTENT_ENCODING", "")
    if coding and coding.lower() != "identity":
        raise Encoded(coding)
    if media_type != JSONParser.media_type:
        parameters = request._request.content_params or {}  # noqa: SLF001  # DRF has no other way
        charset = parameters.get("charset", "utf-8")
        # RFC 8259, section 8.1; without its hyphen it is often seen.
        if charset.lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType("", f"Expected JSON in UTF-8, got charset {presentable(charset)}.")


def what_is_wrong(error: json.JSONDecodeError) -> str:
    """Return where the text is no JSON. Python's own words are of its parser, and others in each version."""
    if error.doc.startswith(codecs.BOM_UTF8.decode()):
        return "Expected JSON without a byte order mark."
    place = f"line {error.lineno}, column {error.colno}"
    if not error.doc[error.pos :].strip():
        return f"Expected JSON; it ends too early, at {place}."
    return f"Expected JSON; what begins at {place} is none."


def object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object; refuse one that has a name twice, which each reader understands otherwise (section 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = [name for name, count in counts.items() if count > 1][:MAX_NAMED]
        raise ValidationError(
            {presentable(name): [f"Expected this name once, got it {counts[name]} times."] for name in twice}
        )
    return found


def refuse_constant(name: str) -> Never:
    """Refuse what Python writes and JSON has not: NaN, Infinity and -Infinity (section 6)."""
    raise ParseError(f"Expected JSON, which has no {name}.")


DECODER = json.JSONDecoder(object_pairs_hook=object_of, parse_constant=refuse_constant)


def query_of(request: Request, known: Collection[str]) -> QueryDict:
    """Return the query; raise `ValidationError` that names each parameter nobody knows, or that is there twice."""
    asked = request.query_params
    if asked:
        check_query(asked, known)
    return asked


def check_query(asked: QueryDict, known: Collection[str]) -> None:
    """Raise `ValidationError` likewise: what is passed over in silence looks as if it had been followed."""
    errors = {}
    for name, values in asked.lists():
        if name not in known:
            errors[presentable(name)] = [f"Unknown parameter. Expected one of: {', '.join(known)}."]
        elif len(values) > 1:
            errors[name] = [f"Expected this parameter once, got it {len(values)} times."]
    if errors:
        raise ValidationError(dict(list(errors.items())[:MAX_NAMED]))


class Id:
    """An id in a path, for Django's `register_converter`: in its one spelling, which of 1 is not 01."""

    regex = "[1-9][0-9]{0,17}"  # as many digits as a passport's `sub` may have

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value)

    def to_url(self, value: int) -> str:
        """Return the path's segment."""
        return str(value)


def printable(value: str) -> None:
    """Refuse control and format characters: they forge log lines and make two texts look the same.

    Two of them join characters, or keep them apart, in Persian words and in emoji: between two others they may stand.
    """
    for at, character in enumerate(value):
        if unicodedata.category(character) in UNSEEN and not (character in JOINERS and stands_between(value, at)):
            raise ValidationError(
                f"Expected printable characters only, got U+{ord(character):04X}.", code="not_printable"
            )


def printable_lines(value: str) -> None:
    """Refuse the same in each line of the text; a line ends with U+000A."""
    for line in value.split("\n"):
        printable(line)


def stands_between(value: str, at: int) -> bool:
    """Return whether there is something to be seen before and after that place."""
    return 0 < at < len(value) - 1 and not {value[at - 1], value[at + 1]} & JOINERS


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that converts nothing in silence: `"5"` is no number, `5` no string, an unknown field an error."""

    def to_internal_value(self, data: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
        """Return the validated values, or raise `ValidationError` that names every field at fault."""
        if not isinstance(data, dict):
            return super().to_internal_value(data)
        fields = self.fields
        expected = ", ".join(name for name, field in fields.items() if not field.read_only)
        unknown = [presentable(name) for name in data if name not in fields][:MAX_NAMED]
        errors = {name: [f"Unknown field. Expected one of: {expected}."] for name in unknown} | {
            name: [message]
            for name, value in data.items()
            if name in fields and (message := wrong_type(fields[name], value))
        }
        if errors:
            raise ValidationError(errors)
        return super().to_internal_value(data)


def presentable(name: str) -> str:
    """Return the name as an answer may repeat it: short, and of characters that can be encoded and seen."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name[:MAX_NAME]
    )


def wrong_type(field: "serializers.Field[Any, Any, Any, Any]", value: object) -> str | None:
    """Return what was expected where the JSON value is not of the field's type."""
    if field.read_only or value is None:
        return None
    for kind, json_type, name in JSON_TYPES:
        if isinstance(field, kind):
            fits = isinstance(value, json_type) and not (json_type is int and isinstance(value, bool))
            return None if fits else f"Expected {name}, got {type_name(value)}."
    return None


def type_name(value: object) -> str:
    """Return what JSON calls the value's type (RFC 8259, section 3)."""
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names[type(value)]
