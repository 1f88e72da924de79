"""Validators for text fields of serializers, models and forms. `pattern` is the same rule in the OpenAPI document."""

import unicodedata
from collections.abc import Callable
from typing import TypeVar

from django.core.exceptions import ValidationError

# Unicode's categories of characters that have no appearance. U+200C and U+200D are in category Cf.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = {"\N{ZERO WIDTH NON-JOINER}", "\N{ZERO WIDTH JOINER}"}
# The same as a regular expression of JSON Schema, for one line, up to U+FFFF: beyond that, Python and ECMAScript have
# no common escapes.
_INVISIBLE_RANGES = (
    r"\u0000-\u001F\u007F-\u009F\u00AD\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2\u180E\u200B-\u200F"
    r"\u2028-\u202E\u2060-\u2064\u2066-\u206F\uFEFF\uFFF9-\uFFFB"
)
_VISIBLE = f"[^{_INVISIBLE_RANGES}]+"
_LINE = rf"({_VISIBLE}([\u200C\u200D]{_VISIBLE})*)?"

_Validator = TypeVar("_Validator", bound=Callable[[str], None])


def with_pattern(pattern: str) -> Callable[[_Validator], _Validator]:
    """Give a validator the `pattern` that the OpenAPI document shows."""

    def mark(validator: _Validator) -> _Validator:
        validator.pattern = pattern  # type: ignore[attr-defined]  # functions have attributes
        return validator

    return mark


@with_pattern(rf"^\s*{_LINE}\s*$")
def printable(value: str) -> None:
    """Reject control and format characters: they forge log lines and make different texts look the same.

    The two joiners are needed in Persian words and in emoji, so they are allowed between two other characters.
    """
    if value.isprintable():  # most are, and this is quick
        return
    for index, character in enumerate(value):
        if unicodedata.category(character) in _INVISIBLE and not (
            character in _JOINERS and _is_between_others(value, index)
        ):
            raise ValidationError(
                f"Contains U+{ord(character):04X}. Use printable characters only.", code="not_printable"
            )


@with_pattern(rf"^\s*{_LINE}(\n{_LINE})*\s*$")
def printable_lines(value: str) -> None:
    """Reject the same in each line of the text. Lines end with U+000A."""
    for line in value.split("\n"):
        printable(line)


def _is_between_others(value: str, index: int) -> bool:
    return 0 < index < len(value) - 1 and not {value[index - 1], value[index + 1]} & _JOINERS
