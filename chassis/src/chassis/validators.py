"""Validators for text fields."""

import unicodedata

from rest_framework.exceptions import ValidationError

# Unicode's categories of characters that have no appearance. U+200C and U+200D are in category Cf.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = {"\N{ZERO WIDTH NON-JOINER}", "\N{ZERO WIDTH JOINER}"}


def printable(value: str) -> None:
    """Reject control and format characters: they forge log lines and make different texts look the same.

    The two joiners are needed in Persian words and in emoji, so they are allowed between two other characters.
    """
    for index, character in enumerate(value):
        if unicodedata.category(character) in _INVISIBLE and not (
            character in _JOINERS and _is_between_others(value, index)
        ):
            raise ValidationError(
                f"Contains U+{ord(character):04X}. Use printable characters only.", code="not_printable"
            )


def printable_lines(value: str) -> None:
    """Reject the same in each line of the text. Lines end with U+000A."""
    for line in value.split("\n"):
        printable(line)


def _is_between_others(value: str, index: int) -> bool:
    return 0 < index < len(value) - 1 and not {value[index - 1], value[index + 1]} & _JOINERS
